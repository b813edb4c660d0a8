-- activations.lua: what the table of activations says of the registers that they need is what they take.
local activations = require "activations"
local program, registers, targets = require "program", require "registers", require "targets"
local suite = require "suite"

-- The registers that an activation takes beside the sum, and beside the slope that is a sum's temporary.
local function taken(name, type_name, target, floor)
  local k = program.new { name = "activation", type = type_name, target = target }
  local from, to, sum, slope = k:pointer("from", "in"), k:pointer("to", "out"), k:vector "sum", k:vector "slope"
  k:load(sum, k:at(from, 0))
  if name == "prelu" then k:load(slope, k:at(from, 64)) end
  activations.put(k, { epilogue = { activation = name, lo = 0.1, hi = floor } }, sum, slope)
  k:store(k:at(to, 0), sum)
  return registers.allocate(k:finish(), target).used - 1
end

local function most_taken(name)
  local most = 0
  for _, target in ipairs { targets.avx2, targets.avx512 } do
    for _, type_name in ipairs { "f32", "f64" } do
      for _, floor in ipairs { -math.huge, 0.5 } do most = math.max(most, taken(name, type_name, target, floor)) end
    end
  end
  return most
end

for _, row in ipairs(activations.list) do
  local name = row.name
  suite.case("the registers of " .. name, function()
    suite.equal(row.registers and most_taken(name), row.registers)
  end)
end

return suite.failures()
