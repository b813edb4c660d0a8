-- strides.lua: what steps through a problem's tensors are called in C that people read.
--
-- By tensor, {name, elements}, large ones first; a step of one element has no name, and of equal ones the innermost has.
local strides = {}

local spatial = { "D", "H", "W" }

-- sizes: {name of an axis, its size}, the outermost first.
local function of(prefix, sizes)
  local list, n, seen = {}, 1, {}
  for i = #sizes, 1, -1 do
    if n > 1 and not seen[n] then table.insert(list, 1, { prefix .. "_" .. sizes[i][1], n }) end
    seen[n], n = true, n * sizes[i][2]
  end
  return list
end

local function image(prefix, layout, channels, size)
  local axes = { { "N", 1 } }
  for i = 1, 3 do axes[i + 1] = { spatial[i], size[i] } end
  table.insert(axes, layout == "nhwc" and 5 or 2, { "C", channels })
  return of(prefix, axes)
end

local function weights(p)
  local taps, icg = {}, p.ic // p.groups
  for i = 1, 3 do taps[i] = { "K" .. spatial[i], p.kernel[i] } end
  local channels = p.layout == "nhwc" and { { "I", icg }, { "O", p.oc } } or { { "O", p.oc }, { "I", icg } }
  local first, second = table.unpack(p.layout == "nhwc" and { taps, channels } or { channels, taps })
  return of("WEIGHTS", table.move(second, 1, #second, #first + 1, table.move(first, 1, #first, 1, {})))
end

function strides.of(p)
  local dst = image("DST", p.layout, p.oc, p.output)
  return { src = image("SRC", p.layout, p.ic, p.input), dst = dst, residual = dst, weights = weights(p) }
end

-- Those that occur, by name, as C.
function strides.text(used)
  local names, list = {}, {}
  for name in pairs(used) do names[#names + 1] = name end
  if #names == 0 then return "" end
  table.sort(names)
  for i, name in ipairs(names) do list[i] = ("%s = %d"):format(name, used[name]) end
  return ("/* Elements from one to the next along an axis; LANES: of a vector. */\nenum { %s };\n\n"):format(table.concat(list, ", "))
end

return strides
