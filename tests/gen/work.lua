-- work.lua: how much the generator does, counted in Lua's instructions: the same on any machine, busy or not. (On the processor that
-- docs/measured.md is of, a million take 5 to 10 ms.) What is allowed is half as much again as was counted when it was written here.
local suite = require "suite"
local convgen = require "convgen"

local machine = { l1d = 49152, l2 = 1 << 20, l3 = 32 << 20, line = 64, cores = 2, features = {} }
local EVERY = 1000 -- instructions between calls of the hook

local function counted(body)
  local count = 0
  collectgarbage()
  debug.sethook(function() count = count + EVERY end, "", EVERY)
  local ok, why = pcall(body)
  debug.sethook()
  if not ok then error(why, 0) end
  return count
end

local function at_most(allowed, what, body)
  suite.case(what, function()
    local count = counted(body)
    print(("%10d instructions: %s"):format(count, what))
    if count > allowed then error(("%d instructions, at most %d are allowed"):format(count, allowed), 0) end
  end)
end

-- A line of a list of square layers: mb1ic64ih56oc128oh28kh3sh2ph1.
local function problem(text, pass)
  local function number(key, default) return math.tointeger(tonumber(text:match(key .. "(%d+)") or default)) end
  local i, k, s, pad = number "ih", number "kh", number("sh", 1), number("ph", 0)
  local o = number("oh", (i + 2 * pad - k) // s + 1)
  return { pass = pass or "forward", type = "f32", layout = "nhwc", accuracy = "loop", weights = "changing", batch = 1, groups = 1,
    ic = number "ic", oc = number "oc", input = { 1, i, i }, output = { 1, o, o }, kernel = { 1, k, k }, stride = { 1, s, s },
    dilation = { 1, 1, 1 }, pad = { 0, pad, pad }, bias = true, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 },
    text = text }
end

local function request(p, target, form) return { problem = p, machine = machine, target = target, form = form, threads = 1 } end

-- As a plan by estimate asks.
local function first_source(text, pass, target, form)
  return function()
    local r = request(problem(text, pass), target, form)
    r.steady = true
    return assert(convgen.source(r, convgen.schedules(r)[1].name))
  end
end

at_most(1.55e6, "the first source of a small layer, plain C", first_source("mb1ic3ih6oc4kh3ph1", "forward", "portable", "c"))
for _, row in ipairs { { "forward", 4.4e6, 3.6e6 }, { "backward_data", 3.2e6, 4.4e6 }, { "backward_weights", 5.2e6, 3.6e6 } } do
  local pass, small, large = table.unpack(row)
  at_most(small, "the first source of 56x56 64-64 3x3, " .. pass, first_source("mb1ic64ih56oc64kh3ph1", pass, "avx512", "machine"))
  at_most(large, "the first source of 48x48 80-320 3x3, " .. pass, first_source("mb1ic80ih48oc320kh3ph1", pass, "avx512", "machine"))
end

-- Whether registers suffice is known before a transform is made: no program is thrown away.
suite.case("transforms that do not fit are not made", function()
  local registers = require "registers"
  local allocate, refused = registers.allocate, 0
  registers.allocate = function(...)
    local map, why = allocate(...)
    refused = refused + (map and 0 or 1)
    return map, why
  end
  for _, row in ipairs { { "winograd.5+4x4.t14.s1/product.r14.v2", "backward_data" },
    { "winograd.4x5.t28.s2/product.r14.v2", "backward_weights" }, { "winograd.6x6.t28.s1/product.r14.v2", "forward" } } do
    for _, target in ipairs { "avx512", "avx2" } do
      local p = problem("mb1ic80ih48oc320kh3ph1", row[2])
      p.accuracy = "8x"
      assert(convgen.source(request(p, target, "machine"), (row[1]:gsub("r14", target == "avx2" and "r6" or "r14"))))
    end
  end
  registers.allocate = allocate
  if refused > 0 then error(refused .. " programs were made in vain", 0) end
end)

-- Lists that once took from 2 to 20 times as much as a source; their transforms are known by now.
for _, row in ipairs { { "mb1ic384ih56oc384kh3ph1", 1.5e6, 0.75e6 }, { "mb1ic3ih224oc64oh112kh7sh2ph3", 3.8e6, 0.07e6 },
  { "mb1ic8192ih1oc1000kh1", 0.035e6, 0.23e6 }, { "mb1ic3ih8000oc4kh3ph1", 0.34e6, 0.75e6 } } do
  for i, pass in ipairs { "forward", "backward_weights" } do
    at_most(row[i + 1], ("the list of %s, %s"):format(row[1], pass), function()
      local text = row[1]
      convgen.schedules(request(problem(text, pass), "avx512", "machine"))
    end)
  end
end

-- `convgen emit --form=asm --target=avx512,avx2 --batch=tuned/networks/resnet50.txt` without records.
at_most(170e6, "ResNet-50 emitted for two targets and plain C", function()
  local list = assert(io.open((arg[1]:gsub("gen/?$", "") .. "tuned/networks/resnet50.txt")))
  local network = { key = "none", prefix = "net", form = "asm", version = "0", machine = machine, targets = { "avx512", "avx2", "portable" }, layers = {} }
  for line in list:lines() do
    local text, name = line:match '^(mb%w+)n"(.*)"'
    if text then
      local layer = { name = name, threads = 1, multiplicity = 1, problem = problem(text), kernels = {} }
      for i, target in ipairs(network.targets) do
        local r = request(problem(text), target, target == "portable" and "c" or "machine")
        layer.kernels[i] = { schedule = convgen.schedules(r)[1].name, from = "the best estimate" }
      end
      table.insert(network.layers, layer)
    end
  end
  list:close()
  local files = 0
  assert(convgen.emit(network, function() files = files + 1 end))
  if files < 70 then error(files .. " files", 0) end
end)

return suite.failures()
