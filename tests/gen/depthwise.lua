-- Depthwise's patterns along an axis, which are closed formulas, against every output and every tap looked at.
local suite = require "suite"
local axes = require "families/depthwise_axis"

local seed = math.tointeger(tonumber(os.getenv "CONVGEN_SEED")) or os.time()
math.randomseed(seed)
print("seed " .. seed)
local R = math.random

local function random_axis()
  local p = { kernel = { R(7) }, stride = { R(3) }, dilation = { R(3) }, pad = { R(0, 8) }, input = { R(30) } }
  p.output = { R(30) } -- any: trailing pads are free
  return (R(2) == 1 and axes.forward or axes.backward)(p, 1)
end

-- Where tap `tap` of output j is, or nil.
local function position(axis, j, tap)
  local x = j * axis.step + tap * axis.tap_step + axis.offset
  return x % axis.down == 0 and x >= 0 and x < axis.inputs and x // axis.down or nil
end

-- "output,tap at position" of all outputs [first, first + size), in the order of the outputs.
local function looked_at(axis, first, size)
  local words = {}
  for m = 0, size - 1 do
    for tap = 0, axis.taps - 1 do
      local at = position(axis, first + m, tap)
      if at then words[#words + 1] = ("%d,%d at %d"):format(m, tap, at - axes.reference(axis, first)) end
    end
  end
  table.sort(words)
  return words
end

local function of_variant(axis, variant)
  local words = {}
  for _, p in ipairs(axes.positions(axis, variant)) do
    for _, use in ipairs(p.uses) do words[#words + 1] = ("%d,%d at %d"):format(use.output, use.tap, p.at) end
  end
  table.sort(words)
  return words
end

suite.case("rows of tiles", function()
  for _ = 1, 500 do
    local axis, at = random_axis(), 0
    for _, run in ipairs(axes.row(axis, R(8))) do
      suite.equal(run.first, at)
      for _ = 1, run.count do
        local size = math.min(run.variant.size, axis.outputs - at)
        local words = looked_at(axis, at, size)
        suite.equal(table.concat(of_variant(axis, run.variant), " "), table.concat(words, " "))
        suite.equal(run.variant.uses, #words)
        at = at + run.variant.size
      end
      local reached, exact = axes.reached(axis, run.variant), #axes.positions(axis, run.variant)
      if reached < exact then error(("%d positions are reached, told are %d"):format(exact, reached), 0) end
    end
    suite.equal(at, axis.outputs)
  end
end)

suite.case("taps ascend for every output", function()
  for _ = 1, 200 do
    local axis, last = random_axis(), {}
    local variant = axes.row(axis, 6)[1].variant
    for _, p in ipairs(axes.positions(axis, variant)) do
      for _, use in ipairs(p.uses) do
        if use.tap <= (last[use.output] or -1) then error("taps do not ascend", 0) end
        last[use.output] = use.tap
      end
    end
  end
end)

return suite.failures()
