-- along.lua: operations along some axes: sums, means and maxima, softmax, normalisation.
--
-- Sums are as walk.lua has them. A maximum keeps NaN. softmax: exp(x - max) times one over their sum; logsoftmax:
-- x - max - log(sum). Normalisation: the mean, then the mean of (x - mean)^2, and one over the root of that plus
-- epsilon, by which x - mean is multiplied, then by the scale with the bias added (one rounding).
local functions = require "functions"
local walk, steps = require "network/walk", require "network/steps"
local along = {}

local constant = functions.constant

local function function_of(name)
  for _, row in ipairs(functions.list) do if row.name == name then return row.program end end
end

local exp, log = function_of "exp", function_of "log"

local function sums(k, w)
  local sum = w:values("sum", 0)
  w:each(function(spot)
    local x, acc = w:load(spot, 1, "x"), sum[spot.v][spot.j]
    k:add(acc, acc, x)
  end)
  return w:together(sum, walk.add)
end

local function divided(k, w, totals)
  local n = constant(k, "n", w.length)
  for _, total in ipairs(totals) do k:div(total, total, n) end
  return totals
end

-- Adds x * y at a spot, of its elements alone.
local function add_product(k, sum, spot, x, y) k:fma(sum[spot.v][spot.j], x, y, 0, spot.count) end

local reductions = {
  reduce_sum = sums, reduce_max = walk.maxima,
  reduce_mean = function(k, w) return divided(k, w, sums(k, w)) end,
}

-- views: src, dst.
function along.reduce(b, operation, views)
  local make, vectors = reductions[operation.op], b.target.registers < 32 and 2 or 4
  return { walk.stage(b, { slots = { "src" }, views = { views.src, views.dst }, summed = operation.axes,
    vectors = vectors }, function(k, w) w:put(make(k, w)) end) }
end

---- softmax -----------------------------------------------------------------------------------------------------------

-- exp(x - most) of a spot.
local function power(k, w, spot, most)
  local x = w:load(spot, 1, "x")
  k:sub(x, x, most[spot.v])
  exp(k, x)
  return x
end

local function powers(k, w, most, stored)
  local sum = w:values("sum", 0)
  w:each(function(spot)
    local y = power(k, w, spot, most)
    if stored then w:store(spot, y) end
    add_product(k, sum, spot, y, constant(k, "one", 1))
  end)
  return w:together(sum, walk.add)
end

local function softmax(k, w)
  local sum = powers(k, w, walk.maxima(k, w), true)
  for _, total in ipairs(sum) do k:div(total, constant(k, "one", 1), total) end
  w:each(function(spot)
    local y = w:load(spot, w.views, "y")
    k:mul(y, y, sum[spot.v])
    w:store(spot, y)
  end)
end

local function logsoftmax(k, w)
  local most = walk.maxima(k, w)
  local sum = powers(k, w, most)
  for _, total in ipairs(sum) do log(k, total) end
  w:each(function(spot)
    local x = w:load(spot, 1, "x")
    k:sub(x, x, most[spot.v])
    k:sub(x, x, sum[spot.v])
    w:store(spot, x)
  end)
end

function along.softmax(b, operation, views)
  local plain = operation.op == "softmax"
  return { walk.stage(b, { slots = { "src" }, views = { views.src, views.dst }, summed = operation.axes, vectors = 1,
    again = plain }, plain and softmax or logsoftmax) }
end

---- normalisation -----------------------------------------------------------------------------------------------------

local function deviation(k, w, mean, epsilon)
  local squares = w:values("squares", 0)
  w:each(function(spot)
    local x = w:load(spot, 1, "x")
    k:sub(x, x, mean[spot.v])
    add_product(k, squares, spot, x, x)
  end)
  local totals = divided(k, w, w:together(squares, walk.add))
  for _, total in ipairs(totals) do
    k:add(total, total, k:number(epsilon))
    k:sqrt(total, total)
    k:div(total, constant(k, "one", 1), total)
  end
  return totals
end

local function norm(epsilon, scale, bias)
  return function(k, w)
    local mean = divided(k, w, sums(k, w))
    local factor = deviation(k, w, mean, epsilon)
    w:each(function(spot)
      local y = w:load(spot, 1, "y")
      k:sub(y, y, mean[spot.v])
      k:mul(y, y, factor[spot.v])
      if scale and bias then k:muladd(y, w:load(spot, scale, "scale"), w:load(spot, bias, "bias"))
      elseif scale then k:mul(y, y, w:load(spot, scale, "scale"))
      elseif bias then k:add(y, y, w:load(spot, bias, "bias")) end
      w:store(spot, y)
    end)
  end
end

-- views: src; weights, the scale, and residual, the bias, each as long as src; dst.
function along.norm(b, operation, views)
  local slots, list, of = { "src" }, { views.src }, {}
  for _, slot in ipairs { "weights", "residual" } do
    if views[slot] then
      slots[#slots + 1], list[#list + 1] = slot, views[slot]
      of[slot] = #list
    end
  end
  list[#list + 1] = views.dst
  return { walk.stage(b, { slots = slots, views = list, summed = operation.axes, vectors = 1 },
    norm(operation.epsilon, of.weights, of.residual)) }
end

return along
