-- sweeps.lua: which outputs and taps see each other, by formulas, against a walk over all of them.
local suite = require "suite"
local gather = require "gather"
local sweeps = require "families/planar_sweeps"

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
math.randomseed(seed)
print("seed " .. seed)
local random = math.random

-- A row and a piece of its taps.
local function drawn()
  local p = { stride = {}, dilation = {}, pad = {}, input = {}, output = {}, kernel = {} }
  for i = 1, 3 do
    p.stride[i], p.dilation[i], p.kernel[i] = random(3), random(4), random(7)
    p.input[i], p.pad[i] = random(20), random(0, 9)
    p.output[i] = (p.input[i] + 2 * p.pad[i] - (p.kernel[i] - 1) * p.dilation[i] - 1) // p.stride[i] + 1
    if p.output[i] < 1 then return drawn() end
  end
  local first = random(0, p.kernel[3] - 1)
  return p, first, random(first, p.kernel[3] - 1)
end

local function sees(p, i, output, tap)
  local x = output * p.stride[i] + tap * p.dilation[i] - p.pad[i]
  return x >= 0 and x < p.input[i]
end

local function equal(a, b, what)
  if a ~= b then error(("%s: %s, expected %s"):format(what, a, b), 0) end
end

suite.case("the outputs that see a tap", function()
  for _ = 1, 2000 do
    local p, tap = drawn()
    local from, stop = gather.outputs_of(p, 3, tap)
    for output = 0, p.output[3] - 1 do
      equal(output >= from and output < stop, sees(p, 3, output, tap), "output " .. output)
    end
  end
end)

suite.case("the taps that an output sees, and a row's ends", function()
  for _ = 1, 2000 do
    local p, first, last = drawn()
    local row, seen = sweeps.row_of(p, first, last), {}
    for i = 0, row.count - 1 do seen[row.from + i] = ("0 %d"):format(last - first) end
    for _, e in ipairs(row.ends) do
      equal(seen[row.from + e.at], nil, "an end twice")
      equal(e.after, row.count > 0 and e.at > 0, "whether an end is behind the middle")
      seen[row.from + e.at] = e.low .. " " .. e.high
    end
    for output = 0, p.output[3] - 1 do
      local low, high
      for tap = first, last do
        if sees(p, 3, output, tap) then low, high = low or tap - first, tap - first end
      end
      local a, b = gather.taps_of(p, 3, output, first, last)
      equal(a, low, "low of output " .. output)
      equal(b, high, "high of output " .. output)
      equal(seen[output], low and low .. " " .. high, "output " .. output)
      seen[output] = nil
    end
    equal(next(seen), nil, "outputs beyond the row")
  end
end)

suite.case("runs of outputs that see the same taps", function()
  for _ = 1, 2000 do
    local p, first, last = drawn()
    local at, before = 0, nil
    for _, run in ipairs(gather.runs(p, 3, first, last)) do
      local key = run.low and run.low .. " " .. run.high or "none"
      equal(run.first, at, "where a run begins")
      if key == before then error("neighbours are equal", 0) end
      before = key
      for _ = 1, run.count do
        local count = 0
        for tap = first, last do
          local seen = sees(p, 3, at, tap)
          equal(run.low ~= nil and tap - first >= run.low and tap - first <= run.high, seen, "tap " .. tap)
          count = count + (seen and 1 or 0)
        end
        equal(run.taps, count, "taps of output " .. at)
        at = at + 1
      end
    end
    equal(at, p.output[3], "outputs of all runs")
  end
end)

return suite.failures()
