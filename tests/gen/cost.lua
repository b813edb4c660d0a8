-- Costs: monotone in what is counted and in the rates, finite whatever a machine says, the target's row where it says nothing.
local suite = require "suite"
local cost = require "cost"
local targets = require "targets"

local row = targets.avx2
local plain = { l1d = 32768, l2 = 1 << 19, l3 = 1 << 25 }

local function with(rates) return setmetatable({ rates = rates }, { __index = plain }) end

local function no_less(what, a, b) if not (b >= a) then error(("%s: %s after %s"):format(what, b, a), 2) end end

-- All that bytes cost.
local function by_bytes(m) return { line = m.line, store = m.store, stream = m.stream } end

local silly = { {}, { l2 = 0 / 0 }, { l2 = -1, l3 = math.huge }, { l2 = "fast", memory = {} }, { l2 = 0, l3 = 0, memory = 0 },
  { l2 = 900, l3 = 3, memory = 1 }, { store_l3 = 90, store_memory = 2, stream_l3 = 70, stream_memory = 1 }, { page = -7 } }

for i, rates in ipairs(silly) do
  suite.case("monotone and finite, rates " .. i, function()
    local m = cost.machine(with(rates), row)
    for name, of in pairs(by_bytes(m)) do
      local before = 0
      for bits = 0, 44 do
        local here = of(1 << bits)
        if here ~= here or here >= 1e5 then error(("%s of 2^%d bytes is %s"):format(name, bits, here)) end
        no_less(name, before, here)
        before = here
      end
    end
  end)
end

suite.case("a slower rate costs no less", function()
  for name, rate in pairs(row.rates) do
    local before, after = cost.machine(with { [name] = rate }, row), cost.machine(with { [name] = 3 * rate }, row)
    for what, of in pairs(by_bytes(after)) do
      for bits = 8, 30 do no_less(name .. " in " .. what, by_bytes(before)[what](1 << bits), of(1 << bits)) end
    end
    no_less(name, before.page, after.page)
  end
end)

suite.case("the target's row where the machine says nothing", function()
  for _, machine in ipairs { plain, with { l2 = 0 / 0, l3 = -2, memory = "much" }, with(3) } do
    local m = cost.machine(machine, row)
    for name, rate in pairs(row.rates) do suite.equal(m.rates[name], rate) end
  end
  local m = cost.machine({}, row)
  if not (m.l1 > 0 and m.l2 > m.l1 and m.last >= m.l2) then error "no sizes of caches" end
  suite.equal(cost.machine(with { memory = 31 }, row).line(1 << 40), 31)
  suite.equal(cost.machine(plain, row).line(1 << 10), 0)
end)

local function near(got, expected)
  if got < expected or got > 1.02 * expected then error(("%s, expected about %s"):format(got, expected), 2) end
end

suite.case("a step takes what it has too few of", function()
  local m = cost.machine(plain, row)
  near(m.step(24, 10, 24), 12)
  near(m.step(4, 12, 24), 6)
  near(m.step(2, 3, 2), 4)
end)

return suite.failures()
