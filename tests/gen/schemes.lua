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

return suite.failures()
