-- argmax.lua: the first place of the largest element along an axis, of NaN the first place; as integers of 64 bits.
--
-- The maximum first; then the least place among those that have it. Places are numbers of the program's type, so an
-- axis of f32 has at most 2^23 elements.
local functions = require "functions"
local walk = require "network/walk"
local argmax = {}

local constant, new = functions.constant, functions.new
local exact = { f32 = 2.0 ^ 23, f64 = 2.0 ^ 52 } -- from here on a number's last bit counts ones
local lanes_apart = 16

-- All bits where x is not NaN.
local function ordered(k, x)
  local above = new(k, "above", "greater", x, constant(k, "lowest", -math.huge))
  local below = new(k, "below", "greater", constant(k, "highest", math.huge), x)
  return new(k, "ordered", "bor", above, below)
end

local function inverted(k, x)
  local all = new(k, "all", "greater", constant(k, "one", 1), constant(k, "nought", 0))
  return new(k, "other", "bxor", x, all)
end

-- Where each value that is kept apart begins: before its first place.
local function first_places(k, w, list)
  if w.way == "across" then return k:constant(list[1][1], -1) end
  local number = k:vector "number"
  for lane = 0, lanes_apart - 1 do
    k:constant(number, lane - lanes_apart)
    k:store(k:at(w.scratch, lane), number, 0, 1)
  end
  for j, r in ipairs(list[1]) do k:load(r, k:at(w.scratch, (j - 1) * w.lanes)) end
end

local function places(k, w, most)
  local least, at = w:values("least", 2.0 ^ 24), w:values("at", 0)
  first_places(k, w, at)
  local known = ordered(k, most)
  w:each(function(spot)
    local x, place = w:load(spot, 1, "x"), at[1][w.way == "along" and spot.j or 1]
    k:add(place, place, k:number(w.way == "along" and lanes_apart or 1))
    local below = new(k, "hit", "greater", most, x)
    local hit = inverted(k, below)
    k:band(hit, hit, known)
    k:bor(hit, hit, inverted(k, ordered(k, x)))
    local none = constant(k, "none", 2.0 ^ 24)
    local candidate = new(k, "candidate", "bxor", none, place)
    k:band(candidate, candidate, hit)
    k:bxor(candidate, candidate, none)
    k:min(least[1][spot.j], candidate, least[1][spot.j])
  end)
  return w:together(least, function(_, total, next_) k:min(total, total, next_) end)[1]
end

-- Numbers as integers, put one by one: where the type has 32 bits, the upper ones are another element.
local function put(k, w, place)
  local words, one = 8 // k.size, k:vector "word"
  local bits, magic = k:vector "bits", constant(k, "magic", exact[k.type])
  k:add(bits, place, magic)
  k:bxor(bits, bits, magic)
  local count = w.way == "along" and 1 or w.counts[1]
  k:store(k:at(w.scratch), bits, 0, w.way == "along" and 1 or nil)
  for lane = 0, count - 1 do
    local at = w.across and lane * w.across.steps[w.views] or 0
    k:load(one, k:at(w.scratch, lane), 0, 1)
    k:store(k:at(w.pointers[w.views], at), one, 0, 1)
    if words == 2 then
      k:zero(one)
      k:store(k:at(w.pointers[w.views], at + 1), one, 0, 1)
    end
  end
end

-- views: src, dst (i64), which is written as elements of src's type.
function argmax.stages(b, operation, views)
  local size = views.src.dims[operation.axes[1] + 1]
  if size > exact[b.p.type] then
    b.why = ("argmax of an axis of %d elements, allowed are %d"):format(size, exact[b.p.type])
    return {}
  end
  local words, dst = b.p.type == "f32" and 2 or 1, { dims = views.dst.dims, strides = {} }
  for i, stride in ipairs(views.dst.strides) do dst.strides[i] = stride * words end
  b.types = { dst = b.p.type == "f32" and "float" or "double" }
  return { walk.stage(b, { slots = { "src" }, views = { views.src, dst }, summed = operation.axes, vectors = 1,
    scattered = true }, function(k, w) put(k, w, places(k, w, walk.maxima(k, w)[1])) end) }
end

return argmax
