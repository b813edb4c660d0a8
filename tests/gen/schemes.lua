-- The table of schemes: each row's points make the scheme that it is about.
local suite = require "suite"
local toomcook, schemes = require "toomcook", require "schemes"

suite.case("points of the table are schemes", function()
  for _, row in ipairs(schemes.rows) do
    local s = toomcook.scheme(row.outputs, row.taps, row.points)
    suite.equal(s.size, row.outputs + row.taps - 1)
    suite.equal(#row.square, #schemes.channels)
    suite.equal(#row.line, #schemes.channels)
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

local errors = require "families/winograd_error"

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

return suite.failures()
