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

return suite.failures()
