-- error.lua: the predicted error of tiles over the plain loop's, and what a tier admits.
--
-- Every operation rounds once, by an error whose mean square is in proportion to that of the result: u E[x^2], with one
-- u for all. To first order an output's error is the sum of what the roundings before it pass on, so for uniform data
-- mean squares follow from the matrices alone; that of a product of an input and a weight is 1 here. A loop of n terms
-- rounds n products and n - 1 sums of 2 .. n terms: n + n(n+1)/2 - 1. Of a tile, the squares are sums over its
-- frequencies, and products of a sum for h and one for w, each over the tiles of its axis:
--     N  pairs of an output and a tap that meet in the input   P  what roundings of products (and their sums) pass on
--     V, U, Y  what those of the input's, the weights' and the output's transform do
-- Windows that reach into the padding have zeros there: the loop's sums become shorter (few terms: hardly an error),
-- but a frequency's products, and what they pass on to all outputs of the tile, do not become fewer.
--
-- No number of the model is fitted: the errors that tools/points.lua measures are met (tests/gen/schemes.lua). One is
-- of the margin: see spread.
local toomcook = require "toomcook"
local straight = require "straight"
local grid = require "rewrite/winograd/grid"
local accuracies = require "accuracies"
local errors = {}

-- Problems of few terms lie about the prediction: measured, 99.7 in 100 of those of n terms are at most that far above
-- it.
local function spread(terms) return 1 + 0.5 / math.sqrt(math.max(terms, 1)) end

---- one tile of one axis ----------------------------------------------------------------------------------------------

local function row_of(n, one)
  local row = {}
  for i = 1, n do row[i] = i == one and 1.0 or 0.0 end
  return row
end

local function add_to(row, other, c) for i = 1, #row do row[i] = row[i] + c * other[i] end end

-- Calls body(value, times) for what an operation of straight-line code takes.
local function each_use(op, body)
  local factor = op.c and toomcook.number(op.c) or op.op == "sub" and -1.0 or 1.0
  body(op.x, op.op == "mul" and factor or 1.0)
  if op.y then body(op.y, factor) end
end

local function power_of_two(c) return c.n & (math.abs(c.n) - 1) == 0 and c.d & (c.d - 1) == 0 end

-- What is rounded: {form: it as a combination of the inputs, reach: how much of it each result has}.
local function roundings(matrix, present)
  local s, forms, reach, list = straight.of(matrix, present), {}, {}, {}
  local inputs = s.inputs
  for value = 1, inputs + #s.operations do forms[value], reach[value] = row_of(inputs, value), row_of(#s.results) end
  for result, value in ipairs(s.results) do
    if value then reach[value][result] = 1.0 end
  end
  for n = #s.operations, 1, -1 do
    each_use(s.operations[n], function(value, c) add_to(reach[value], reach[inputs + n], c) end)
  end
  for n, op in ipairs(s.operations) do
    each_use(op, function(value, c) add_to(forms[inputs + n], forms[value], c) end)
    local exact = op.op == "mul" and power_of_two(op.c)
    if not exact then list[#list + 1] = { form = forms[inputs + n], reach = reach[inputs + n] } end
  end
  return list
end

-- The columns first .. last of a matrix as numbers.
local function numbers(matrix, first, last)
  local rows = {}
  for i, row in ipairs(matrix) do
    rows[i] = {}
    for j = first, last do rows[i][j - first + 1] = toomcook.number(row[j]) end
  end
  return rows
end

local function dot(x, y)
  local sum = 0.0
  for i = 1, #x do sum = sum + x[i] * y[i] end
  return sum
end

-- For each pair of rows f and g, (a[f] . a[g]) (c[f] . c[g]): then the squares of sum over f of a[f][i] b[f] c[f][j],
-- over all i and j, are a sum over pairs.
local function both(a, c)
  local m = {}
  for f = 1, #a do
    m[f] = {}
    for g = 1, #a do m[f][g] = dot(a[f], a[g]) * dot(c[f], c[g]) end
  end
  return m
end

local function passed(b, m)
  local sum, some = 0.0, {}
  for f, x in ipairs(b) do
    if x ~= 0 then some[#some + 1] = f end
  end
  for _, f in ipairs(some) do
    for _, g in ipairs(some) do sum = sum + b[f] * b[g] * m[f][g] end
  end
  return sum
end

local function squares_of_tile(s, low, high, taps)
  local A, G = numbers(toomcook.transposed(s.AT, s.size), 1, s.outputs), numbers(s.G, 1, taps)
  local window = numbers(s.BT, low + 1, high)
  local AG, AW, GW = both(A, G), both(A, window), both(G, window)
  local t = { N = 0, P = 0.0, V = 0.0, U = 0.0, Y = 0.0 }
  for y = 0, s.outputs - 1 do t.N = t.N + math.max(math.min(high, y + taps) - math.max(low, y), 0) end
  for f = 1, s.size do t.P = t.P + AG[f][f] * dot(window[f], window[f]) end
  for _, r in ipairs(roundings(s.BT, straight.present(s.size, low, high))) do
    t.V = t.V + dot(r.form, r.form) * passed(r.reach, AG)
  end
  for _, r in ipairs(roundings(s.G, straight.present(s.taps, 0, taps))) do
    t.U = t.U + dot(r.form, r.form) * passed(r.reach, AW)
  end
  for _, r in ipairs(roundings(s.AT)) do t.Y = t.Y + dot(r.reach, r.reach) * passed(r.form, GW) end
  return t
end

local known = setmetatable({}, { __mode = "k" })

-- Of a tile whose inputs [low, high) and first `taps` weights are there, the others zeros.
local function tile(s, low, high, taps)
  local key = (low << 8 | high) << 8 | taps
  known[s] = known[s] or {}
  known[s][key] = known[s][key] or squares_of_tile(s, low, high, taps)
  return known[s][key]
end

---- axes --------------------------------------------------------------------------------------------------------------

-- The sums of an axis, to which tiles (as above) and outputs (the number of taps that they have in the input) are
-- added.
function errors.axis()
  return { N = 0, P = 0.0, V = 0.0, U = 0.0, Y = 0.0, outputs = 0, some = 0, terms = 0, terms2 = 0 }
end

function errors.add_tile(axis, s, low, high, taps, count)
  local t = tile(s, low, high, taps)
  axis.N, axis.P = axis.N + count * t.N, axis.P + count * t.P
  axis.V, axis.U, axis.Y = axis.V + count * t.V, axis.U + count * t.U, axis.Y + count * t.Y
end

function errors.add_output(axis, terms, count)
  axis.outputs = axis.outputs + count
  if terms > 0 then axis.some = axis.some + count end
  axis.terms, axis.terms2 = axis.terms + count * terms, axis.terms2 + count * terms * terms
end

-- The outputs of one grid of several that are alike.
local function add_outputs(sums, axis, grids)
  local at, left = axis.offset + math.min(0, axis.tap_step * (axis.taps - 1)), axis.outputs
  while left > 0 do
    local count = math.min(grid.alike(axis, at, axis.taps, axis.step), left)
    errors.add_output(sums, math.max(math.min(axis.taps, axis.inputs - at) - math.max(0, -at), 0), count * grids)
    at, left = at + count * axis.step, left - count
  end
end

-- An axis in tiles, from its plans (grid.lua).
function errors.of_plans(plans)
  local sums = errors.axis()
  for _, plan in ipairs(plans) do
    for _, run in ipairs(plan.runs) do
      for i, phase in ipairs(plan.phases) do
        local scheme, window = grid.part(phase, plan.schemes[run.tile.class]), run.tile.windows[i]
        errors.add_tile(sums, scheme, window.low, window.high, scheme.taps, run.count * plan.grids.count)
      end
    end
    add_outputs(sums, plan.axis, plan.grids.count)
  end
  return sums
end

-- Of backward weights: to a tile the taps are its outputs, its pixels of diff_dst are the taps.
function errors.of_pixels(plan)
  local sums, axis = errors.axis(), plan.axis
  for _, run in ipairs(plan.runs) do
    local window = run.tile.windows[1]
    errors.add_tile(sums, plan.scheme, window.low, window.high, run.tile.outputs, run.count)
  end
  for tap = 0, axis.taps - 1 do
    local first, stop = math.max(0, -axis.offset - tap), math.min(axis.outputs, axis.inputs - axis.offset - tap)
    errors.add_output(sums, math.max(stop - first, 0), 1)
  end
  return sums
end

-- Why tiles of so many outputs are refused, or nil.
function errors.unmeasured(outputs, taps)
  if outputs > 1 and taps > 1 and not toomcook.measured(outputs, taps) then return "its error has not been measured" end
end

-- The mean length of the chains in which products are rounded, of sums of `terms` that are added so many times, and so
-- on: a product is in half of the roundings of its sum, and that in half of those of the sums that follow the first.
function errors.chains(terms, ...)
  local mean = (terms + 1) / 2
  for _, sums in ipairs { ... } do mean = mean + (sums + 1) / 2 - 1 / sums end
  return mean
end

---- the prediction ----------------------------------------------------------------------------------------------------

-- What both sides add at last (a bias, a residual; one is worth three products): {rounded outputs' squares of all, of
-- the loop's}.
local function additions(epilogue, products, h, w)
  local all, loop, more = 0, 0, 0
  for _ = 1, epilogue do
    more = more + 3
    all, loop = all + products + more * h.outputs * w.outputs, loop + products + more * h.some * w.some
  end
  return all, loop
end

-- The loop's sums that a narrow clamp does not hide end near zero, so they have been smaller on the way.
local function sums_on_the_way(clamp, terms)
  local range = clamp and clamp.hi - clamp.lo
  if not clamp or range == math.huge then return 1 / 2 end
  local left = 3 * (clamp.hi ^ 3 - clamp.lo ^ 3) / range / math.max(terms, 1) -- of the sums' mean square, terms / 9
  return 1 / 2 - (1 - math.min(left, 1)) / 3
end

-- The error over the loop's that problems hardly exceed. h, w: axes; reduced: how many products a tile's frequency sums
-- for each that the axes count; chains: the mean length of those sums where they are rounded, (n + 1) / 2 of one chain
-- of n; epilogue: how many tensors are added; clamp: {lo, hi} or nil.
function errors.predict(h, w, reduced, chains, epilogue, clamp)
  local some, products = h.some * w.some, reduced * h.terms * w.terms
  if some == 0 then return math.huge end
  local all, of_loop = additions(epilogue, products, h, w)
  local transforms = (h.V + h.U) * w.N + h.P * (w.V + w.U) + h.Y * w.P + h.N * w.Y
  local terms2 = reduced * reduced * h.terms2 * w.terms2
  local loop = 1.5 * products + sums_on_the_way(clamp, terms2 / products) * terms2 - some + of_loop
  return math.sqrt((reduced * (transforms + chains * h.P * w.P) + all) / loop) * spread(products / some)
end

function errors.refusal(p, predicted)
  local allowed = accuracies[p.accuracy].budget
  if predicted > allowed then
    return ("predicted error %.2g times the loop's, %s admits %.3g"):format(predicted, p.accuracy, allowed)
  end
end

return errors
