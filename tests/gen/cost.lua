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
    no_less(name, before.rates.page, after.rates.page)
  end
end)

-- Cycles of a tally of which only this is known.
local function counted(m, count)
  local t = m.tally()
  count(t)
  return t:cycles()
end

suite.case("a tally: more is no less, and what is in the nearest cache is free", function()
  local m = cost.machine(plain, row)
  local function read(chunk, pitch, own, fetched, others)
    return counted(m, function(t) t:read(100, { chunk = chunk, pitch = pitch, own = own, others = others, fetched = fetched }) end)
  end
  for _, pitch in ipairs { 64, 192, 1000, 4096, 5000, 1 << 16 } do
    local before = 0
    for bits = 0, 34 do
      local here = read(64, pitch, 1 << bits)
      no_less("pitch " .. pitch, before, here)
      no_less("something else besides", here, read(64, pitch, 1 << bits, nil, 1 << 20))
      no_less("not fetched", read(64, pitch, 1 << bits, true), here)
      no_less("scattered", read(64, 64, 1 << bits), here)
      no_less("copied", here, counted(m, function(t) t:copy(100, { chunk = 64, pitch = pitch, own = 1 << bits }) end))
      before = here
    end
    no_less("a longer chunk", read(64, pitch, 1 << 20), read(700, pitch, 1 << 20))
  end
  suite.equal(read(64, 192, 1000), 0.0)
  no_less("lines that meet in a set", read(64, 192, 16 << 10) + 1, read(64, 4096, 16 << 10))
end)

suite.case("a tally: what goes on beside each other", function()
  local m = cost.machine(plain, row)
  local function work(t) t:steps(1000, 24, 10, 24) end
  local function stores(t) t:stores(5000) end
  local alone, both = counted(m, work), counted(m, function(t) work(t); stores(t) end)
  no_less("work and stores", math.max(alone, counted(m, stores)) + 1, both)
  no_less("beside each other", both, alone + counted(m, stores))
  no_less("parts of vectors", counted(m, stores), counted(m, function(t) t:stores(0, 5000) end))
  local function crowded(rows, pitch) return counted(m, function(t) t:crowds(10, rows, pitch) end) end
  suite.equal(crowded(4, 4096), 0.0)
  suite.equal(crowded(40, 192), 0.0)
  no_less("more lines than ways", crowded(6, 4096) + 1, crowded(14, 4096))
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
