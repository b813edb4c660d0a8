-- maps.lua: which element of src an element of the result is, along an axis where they differ: lists of places from 0.
--
-- Of padding (reflect, edge) and of resizing, whose coordinates are exact where the factor is that of the sizes.
local maps = {}

-- The place of a padded axis that is outside by some elements.
local function mirrored(at, size)
  while at < 0 or at >= size do at = size == 1 and 0 or at < 0 and -at or 2 * (size - 1) - at end
  return at
end

local function clipped(x, size) return math.min(math.max(x, 0), size - 1) end

-- Of `count` elements of which `before` stand before those of an axis of `size`.
function maps.padded(mode, before, size, count)
  local list = {}
  for i = 0, count - 1 do list[i + 1] = (mode == "reflect" and mirrored or clipped)(i - before, size) end
  return list
end

---- resizing ----------------------------------------------------------------------------------------------------------

-- Where element i of `out` is among `size`, by factor: that of the sizes (nil), or another.
local coordinates = {}

function coordinates.half_pixel(i, size, out, factor)
  if factor then return (i + 0.5) / factor - 0.5 end
  return ((2 * i + 1) * size - out) / (2 * out)
end

function coordinates.pytorch_half_pixel(i, size, out, factor)
  return out == 1 and 0.0 or coordinates.half_pixel(i, size, out, factor)
end

function coordinates.asymmetric(i, size, out, factor) return factor and i / factor or i * size / out end
function coordinates.align_corners(i, size, out) return out > 1 and i * (size - 1) / (out - 1) or 0.0 end

local rounds = { floor = math.floor, ceil = math.ceil,
  round_prefer_floor = function(x) return math.ceil(x - 0.5) end,
  round_prefer_ceil = function(x) return math.floor(x + 0.5) end }

local function seen(operation, axis, size, out)
  local factor = operation.factors and operation.factors[axis]
  if factor and (factor <= 0 or factor * size == out) then factor = nil end
  local at = coordinates[operation.coordinates or "half_pixel"]
  return function(i) return at(i, size, out, factor) end
end

-- axis: from 1.
function maps.nearest(operation, axis, size, out)
  local at, round, list = seen(operation, axis, size, out), rounds[operation.rounding or "round_prefer_floor"], {}
  for i = 0, out - 1 do list[i + 1] = math.tointeger(clipped(round(at(i)), size)) end
  return list
end

-- low, high: the elements beside a place; shares: of both, one pair behind the other.
function maps.linear(operation, axis, size, out)
  local at, low, high, shares = seen(operation, axis, size, out), {}, {}, {}
  for i = 0, out - 1 do
    local x = clipped(at(i), size)
    local first = math.floor(x)
    local second = math.min(first + 1, size - 1)
    local share = first == second and 0.5 or x - first
    low[i + 1], high[i + 1], shares[2 * i + 1], shares[2 * i + 2] = first, second, 1 - share, share
  end
  return low, high, shares
end

-- Outputs between the same two elements: {first, low, count}; false where these are one.
local function groups_of(low, high)
  local list = {}
  for i, at in ipairs(low) do
    local last = list[#list]
    if last and last.low == at and last.pair == (high[i] ~= at) then last.count = last.count + 1
    else list[#list + 1] = { first = i - 1, low = at, count = 1, pair = high[i] ~= at } end
  end
  return list
end

local function alike(a, b, shares)
  if not b or not (a.pair and b.pair) or a.count ~= b.count or b.low ~= a.low + 1 then return false end
  for i = 1, 2 * a.count do
    if shares[2 * a.first + i] ~= shares[2 * b.first + i] then return false end
  end
  return true
end

-- The longest run of such groups that are alike, each an element on: {first output, low, outputs of a group, groups}.
function maps.run(low, high, shares)
  local best, run
  local list = groups_of(low, high)
  for i, group in ipairs(list) do
    if i == 1 or not alike(list[i - 1], group, shares) then
      run = { first = group.first, low = group.low, each = group.count, groups = 0 }
    end
    run.groups = run.groups + 1
    if not best or run.groups * run.each > best.groups * best.each then best = run end
  end
  return best
end

---- what a list is ----------------------------------------------------------------------------------------------------

-- A list as a * i + b, or nil.
function maps.straight(list)
  local b = list[1]
  local a = (list[2] or b) - b
  for i, x in ipairs(list) do if x ~= a * (i - 1) + b then return nil end end
  return a, b
end

-- How often each place from 0 on is there, one after another: as i // times; or nil.
function maps.times(list, size)
  local times = #list // size
  if times < 1 or times * size ~= #list then return nil end
  for i, x in ipairs(list) do if x ~= (i - 1) // times then return nil end end
  return times
end

return maps
