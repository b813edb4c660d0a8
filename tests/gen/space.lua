-- Which schedules are left when a list is pruned, and that all are there when all are asked for.
local suite = require "suite"
local space = require "space"
local targets = require "targets"
local cost = require "cost"

local machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }

local function problem(fields)
  local p = { type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", pass = "forward", batch = 1, groups = 1,
    ic = 64, oc = 64, input = { 1, 56, 56 }, output = { 1, 56, 56 }, kernel = { 1, 3, 3 }, stride = { 1, 1, 1 },
    dilation = { 1, 1, 1 }, pad = { 0, 1, 1 },
    bias = false, threads = 1, macs = 1e9, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 }, text = "listed" }
  for key, value in pairs(fields) do p[key] = value end
  return p
end

local layers = {
  ["3x3, 8x, two threads"] = problem { accuracy = "8x", threads = 2 },
  ["thin input, wide output"] = problem { ic = 32, oc = 224, input = { 1, 112, 112 }, output = { 1, 112, 112 },
    kernel = { 1, 1, 1 }, pad = { 0, 0, 0 } },
  ["3x3, beyond the caches"] = problem { ic = 384, oc = 384 },
  ["far and strided"] = problem { ic = 512, oc = 512, kernel = { 1, 5, 5 }, pad = { 0, 2, 2 }, accuracy = "8x", threads = 2 },
  ["backward weights"] = problem { pass = "backward_weights" },
}

-- Legal entries, and which names there are.
local function legal(list)
  local count, names = 0, {}
  for _, entry in ipairs(list) do
    if not entry.why then count, names[entry.name] = count + 1, true end
  end
  return count, names
end

for name, p in pairs(layers) do
  suite.case(name, function()
    local all, pruned = space.list(p, "avx512", machine, nil, false, true), space.list(p, "avx512", machine)
    local listed, kept = legal(all)
    local left, names = legal(pruned)
    if left >= listed then error(("%d are left of %d: nothing is pruned"):format(left, listed)) end
    local ways = {}
    for _, entry in ipairs(all) do
      if not entry.why then
        ways[entry.way] = (ways[entry.way] or 0) + 1
        local lost = ways[entry.way] <= 2 and not names[entry.name]
        if lost then error(entry.name .. " is not left, and is the best or second best of its way") end
      end
    end
    for of in pairs(names) do if not kept[of] then error(of .. " is left and is not among all") end end
    local last
    for _, entry in ipairs(all) do if kept[entry.name] then last = entry.name end end
    local _, asked = legal(space.list(p, "avx512", machine, last))
    if not asked[last] then error(last .. " was asked for") end
  end)
end

-- A schedule's operations: those of the programs that its kernels are.
local function operations(family, p, schedule)
  local sum = 0
  local function count(block)
    for _, op in ipairs(block) do
      sum = sum + 1
      if op.body then count(op.body) end
    end
  end
  for _, kernel in ipairs(family.stages(p, schedule, targets.avx512, machine).kernels) do count(kernel.body) end
  return sum
end

-- Operations that one more takes of a run's cycles, as the entry has it.
local function made(entry) return (entry.planned - entry.cycles) / cost.planned(0, 1) end

suite.case("what is taken for the making of transforms is what they are", function()
  for name, p in pairs(layers) do
    local n = 0
    for _, entry in ipairs(space.list(p, "avx512", machine)) do
      if entry.family == "winograd" and not entry.why and n < 6 then
        n = n + 1
        local family, schedule = space.parse(entry.name)
        local are = operations(family, p, schedule)
        if made(entry) < are / 1.6 or made(entry) > are * 2 then
          error(("%s: %s has %d operations, %d were counted"):format(name, entry.name, are, made(entry)))
        end
      end
    end
  end
end)

suite.case("a plan by estimate saves itself large transforms for small gains", function()
  for name, p in pairs(layers) do
    local first, fastest = space.list(p, "avx512", machine, nil, true)[1], space.list(p, "avx512", machine)[1]
    if made(first) > made(fastest) then error(("%s: %s is more to make than %s"):format(name, first.name, fastest.name)) end
    if first.planned > fastest.planned and first.arithmetic ~= "canonical" then error(name .. ": " .. first.name) end
  end
  local p = problem { pass = "backward_weights", ic = 16, oc = 32, input = { 1, 112, 112 }, output = { 1, 112, 112 } }
  local first, fastest = space.list(p, "avx512", machine, nil, true)[1], space.list(p, "avx512", machine)[1]
  if made(first) > made(fastest) / 2 then error(("%s for %s"):format(first.name, fastest.name)) end
end)

suite.case("ways", function()
  local seen = {}
  for _, entry in ipairs(space.list(layers["thin input, wide output"], "avx512", machine, nil, false, true)) do
    if not entry.why then seen[entry.way] = true end
  end
  for _, way in ipairs { "direct", "direct.across", "direct.across.stream" } do
    if not seen[way] then error("no " .. way) end
  end
end)

-- Of pixels in place and of bands.
suite.case("many border variants are refused", function()
  for _, layout in ipairs { "nhwc", "nchw" } do
    local p = problem { layout = layout, kernel = { 1, 1, 60 }, pad = { 0, 0, 30 }, input = { 1, 4, 120 }, output = { 1, 4, 121 } }
    local refused = 0
    for _, entry in ipairs(space.list(p, "portable", machine, nil, false, true)) do
      local border = entry.family == "direct" and (entry.why or ""):find "border variants, at most"
      refused = refused + (border and 1 or 0)
    end
    if refused == 0 then error(layout .. ": none of direct's is") end
  end
end)

return suite.failures()
