-- strides.lua: what steps through a problem's tensors are called in C that people read.
--
-- By tensor, {name, elements}, large ones first; a step of one element has no name, nor has one beyond an int, and of
-- equal ones the innermost has.
local dual, view = require "dual", require "view"
local strides = {}

-- axes: those of the view, the innermost first.
local function named(prefix, where, axes)
  local list, seen = {}, { [1] = true, [0] = true }
  for axis in axes:gmatch "%S+" do
    local n = where[axis]
    if not seen[n] and n < 1 << 31 then list[#list + 1] = { prefix .. "_" .. axis:upper(), n } end
    seen[n] = true
  end
  table.sort(list, function(a, b) return a[2] > b[2] end)
  return list
end

function strides.of(p)
  p = dual.of(p)
  local dst = named("DST", view.dst(p), "c w h d n")
  return { src = named("SRC", view.src(p), "c w h d n"), dst = dst, residual = dst,
    weights = named("WEIGHTS", view.weights(p), "o i kw kh kd") }
end

-- Those that occur, by name, as C.
function strides.text(used)
  local list = {}
  for name, n in pairs(used) do list[#list + 1] = ("    %s = %d,"):format(name, n) end
  if #list == 0 then return "" end
  table.sort(list)
  return ("/* Elements from one to the next along an axis; LANES: of a vector. */\nenum {\n%s\n};\n\n"):format(
    table.concat(list, "\n"))
end

return strides
