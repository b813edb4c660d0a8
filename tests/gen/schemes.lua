-- The table of measured schemes: the generator has their points, and predicts their errors.
local suite = require "suite"
local toomcook, schemes = require "toomcook", dofile(arg[1] .. "/../tests/gen/measured/schemes.lua")

suite.case("the generator has the points of the table", function()
  for _, row in ipairs(schemes.rows) do
    local s, points = toomcook.scheme(row.outputs, row.taps), {}
    for i, point in ipairs(s.points) do points[i] = tostring(point) end
    suite.equal(table.concat(points, " "), row.points)
    suite.equal(s.size, row.outputs + row.taps - 1)
    suite.equal(#row.square, #schemes.channels)
    suite.equal(#row.line, #schemes.channels)
  end
end)

suite.case("what it takes for measured is the table's", function()
  local rows = {}
  for _, row in ipairs(schemes.rows) do rows[row.outputs .. "," .. row.taps] = true end
  for outputs = 2, 10 do
    for taps = 2, 7 do suite.equal(toomcook.measured(outputs, taps), rows[outputs .. "," .. taps] == true) end
  end
end)

suite.case("phases of the strided rows have schemes of the table", function()
  for _, row in ipairs(schemes.strided) do
    local taps, found = (row.taps + row.stride - 1) // row.stride, false
    for _, r in ipairs(schemes.rows) do found = found or r.outputs == row.outputs and r.taps == taps end
    suite.equal(found, true)
    suite.equal(#row.square, #schemes.channels)
    suite.equal(#row.line, #schemes.channels)
  end
end)

---- the prediction of errors: measured ones are means of 4,096 outputs, those of few channels of few weights -------------------------

local errors = require "rewrite/winograd/error"

-- Of inner tiles: every tap of every output is in the input.
local function axis(scheme)
  local sums = errors.axis()
  errors.add_tile(sums, scheme, 0, scheme.size, scheme.taps, 1)
  errors.add_output(sums, scheme.taps, scheme.outputs)
  return sums
end

local function check(what, h, w, measured)
  for i, channels in ipairs(schemes.channels) do
    local terms = channels * h.terms / h.outputs * w.terms / w.outputs
    local ratio = errors.predict(h, w, channels, (channels + 1) / 2, 0) / (1 + 0.5 / terms ^ 0.5) / measured[i]
    local far = channels >= 16 and 1.13 or 1.36
    if ratio > far or ratio < 1 / far then error(("%s, %d channels: predicted %.2f times what was measured"):format(what, channels, ratio)) end
  end
end

suite.case("predicted errors are the measured ones", function()
  local one = axis(toomcook.scheme(1, 1))
  local function of(outputs, taps) return axis(toomcook.scheme(outputs, taps)) end
  for _, r in ipairs(schemes.rows) do
    local what, a = ("F(%d,%d)"):format(r.outputs, r.taps), of(r.outputs, r.taps)
    check(what .. " squared", a, a, r.square)
    check(what, one, a, r.line)
  end
  for _, m in ipairs(schemes.mixed) do
    check(("F(%dx%d,%d)"):format(m.outputs[1], m.outputs[2], m.taps), of(m.outputs[1], m.taps), of(m.outputs[2], m.taps), m.errors)
  end
end)

-- Sizes that the table does not have have points too (toomcook.lua): what their errors are predicted to be, in one dimension at 16
-- channels. Whoever finds better points lowers these.
local others = {
  { 1, 2, 0.81 }, { 1, 3, 1.06 }, { 1, 4, 0.91 }, { 1, 5, 1.49 }, { 1, 6, 1.49 }, { 1, 7, 2.67 }, { 3, 7, 8.28 }, { 4, 6, 8.46 }, { 4, 7, 8.60 },
  { 5, 5, 8.97 }, { 5, 6, 9.18 }, { 6, 4, 9.93 }, { 6, 5, 9.94 }, { 7, 3, 11.63 }, { 7, 4, 11.22 }, { 8, 2, 14.89 }, { 8, 3, 13.35 } }

suite.case("points of the other sizes are no worse than they were", function()
  local one, most = axis(toomcook.scheme(1, 1)), {}
  for _, row in ipairs(others) do most[row[1] .. "," .. row[2]] = row[3] end
  for _, row in ipairs(schemes.rows) do most[row.outputs .. "," .. row.taps] = math.huge end -- judged above
  for outputs = 1, 8 do
    for taps = 2, math.min(7, 11 - outputs) do
      local of = outputs .. "," .. taps
      local error_ = errors.predict(one, axis(toomcook.scheme(outputs, taps)), 16, 8.5, 0)
      if not most[of] or error_ > most[of] then error(("F(%s): an error of %.3f is predicted, %s is allowed"):format(of, error_, most[of])) end
    end
  end
end)

suite.case("budgets are what docs/numerics.md promises, in the order of convgen.h", function()
  local promised = { { "loop", 1.25 }, { "proven", 0 }, { "2x", 2.1 }, { "8x", 8 } }
  for i, row in ipairs(require "accuracies") do
    suite.equal(row.name, promised[i][1])
    suite.equal(row.budget, promised[i][2])
  end
end)

return suite.failures()
