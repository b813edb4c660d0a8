-- Names of schedules: what is listed is parsed back to the same and printed alike; what is none is refused, and the culprit named.
local suite = require "suite"
local names, space, targets = require "names", require "space", require "targets"

local equal = suite.equal
local usual = 20261
local seed = tonumber(os.getenv "CONVGEN_SEED" or "") or usual
print("seed " .. seed)
math.randomseed(seed)
local any = math.random

local function parse(name)
  local family, schedule = space.parse(name)
  if not family then return nil, schedule end
  return schedule
end

local function one_of(list) return list[any(#list)] end

local random_problem

-- Of those that are transformed, half.
local function transformable()
  local p
  repeat p = random_problem() until any(2) == 1 or p.accuracy == "8x" and p.groups == 1 and p.kernel[2] + p.kernel[3] > 2
  return p
end

function random_problem()
  local p = { type = one_of { "f32", "f64" }, layout = one_of { "nhwc", "nhwc", "nchw" }, accuracy = one_of { "proven", "8x", "8x" }, bias = false,
    pass = one_of { "forward", "backward_data", "backward_weights" }, weights = one_of { "changing", "fixed" }, batch = any(20), threads = any(3),
    input = { 1, any(20), any(20) }, kernel = { 1, one_of { 1, 3, 3, 5 }, one_of { 1, 3, 3, 5 } }, stride = { 1, any(2), any(2) },
    dilation = { 1, 1, 1 }, pad = { 0, any(0, 2), any(0, 2) }, epilogue = { residual = false, activation = "none", lo = 0, hi = 0 },
    output = { 1 }, text = "random" }
  if any(3) == 1 then p.kernel, p.stride, p.pad = { 1, 1, 1 }, { 1, 2, 2 }, { 0, 0, 0 } end
  if any(4) == 1 then p.stride = { 1, 5, 5 } end
  for axis = 2, 3 do
    p.output[axis] = (p.input[axis] + 2 * p.pad[axis] - p.kernel[axis]) // p.stride[axis] + 1
    if p.output[axis] < 1 then return random_problem() end
  end
  local group = one_of { 1, 1, 1, 4 }
  p.groups = group
  p.ic, p.oc = group * (group > 1 and any(2) == 1 and 1 or any(48)), group * one_of { any(64), 300 }
  if p.ic == 4 then p.groups, p.oc = 4, 4 * any(3) end
  if p.ic % 12 == 0 then p.groups, p.ic, p.oc = 9, 18, 18 end
  p.macs = 1.0 * p.batch * p.output[2] * p.output[3] * p.oc * p.ic // group * p.kernel[2] * p.kernel[3]
  return p
end

local function same(a, b)
  for key, value in pairs(a) do
    if type(value) == "table" then
      if not (type(b[key]) == "table" and same(value, b[key])) then return false end
    elseif value and value ~= b[key] then return false end -- false is as not there
  end
  return true
end

-- All names that small caches and some random problems bring about, each with its schedule.
local function listed()
  local found, names_of = {}, {}
  for _, family in ipairs { "direct", "planar", "depthwise", "winograd", "plain" } do
    for _ = 1, 150 do
      local list, machine = {}, { l1d = 32768, l2 = one_of { 4096, 1 << 20 }, l3 = 1 << 25, line = 64, cores = 2, features = {} }
      space.family(family).schedules(transformable(), targets[one_of { "avx512", "avx2", "portable" }], machine, list)
      for _, entry in ipairs(list) do
        local name = entry.schedule and names.print(entry.schedule)
        if name and not found[name] then names_of[#names_of + 1] = name end
        if name then found[name] = entry.schedule end
      end
    end
  end
  return found, names_of
end

local schedules, all = listed()

local ways = {}

suite.case("listed names are parsed back", function()
  for name, schedule in pairs(schedules) do
    local parsed, why = parse(name)
    if not parsed then error(why) end
    if not (same(schedule, parsed) and same(parsed, schedule)) then error(name .. " is another schedule when it is parsed") end
    local printed, way = names.print(parsed)
    equal(printed, name)
    equal(way, (name:gsub("%.[^./]*%d[^./]*", "")))
    ways[way] = true
  end
end)

-- All that the grammar has is among those of the usual seed.
for _, way in ipairs { "direct", "direct.across.stream", "direct.fetch", "direct.ahead", "gather/direct", "planes/direct", "lanes/direct", "window/direct", "window/lanes/direct", "fold/direct", "ranges/direct", "turned/fold/direct", "turned/ranges/direct", "lanes/depthwise", "panel/direct", "gather/panel/direct",
  "planar", "planar.panel", "depthwise", "depthwise.row", "depthwise.stream", "winograd/product", "winograd.fetch.stream/product",
  "winograd/product.half", "winograd/product.fuse", "split/winograd/product", "plain" } do
  suite.case("a random problem has " .. way, function() if seed == usual and not ways[way] then error("none has it") end end)
end

---- what is no name -----------------------------------------------------------------------------------------------------------------

local pieces = { "0", "007", "-1", "1e3", "1048577", "99999999999999999999", "x", "%d", "%", "\xff", " ", "", ".", "..", "/", "//", "*/", "+", "4+4", "3+4" }

local function mutated(name)
  local at = any(#name)
  local to = any(2) == 1 and at or any(at, #name)
  return name:sub(1, at - 1) .. one_of(pieces) .. name:sub(to + any(0, 1))
end

suite.case("mutated names are refused, or names of their own", function()
  local refused = 0
  for _ = 1, 20000 do
    local name = mutated(one_of(all))
    local schedule, why = parse(name)
    if schedule then equal(names.print(schedule), name)
    else
      refused = refused + 1
      local says = why:find(" is no schedule: ", 1, true) and (why:find " there may be " or why:find " there must be " or why:find " letters$")
      if not says then error(("%q: %s"):format(name, why)) end
    end
  end
  if refused < 10000 then error("only " .. refused .. " were refused") end
end)

-- The first word that cannot stand is the one that is named.
suite.case("the culprit is named", function()
  for _ = 1, 2000 do
    local name, words = one_of(all), {}
    for word in name:gmatch "[./]?[^./]+" do words[#words + 1] = word end
    local at = any(#words)
    words[at] = words[at] .. "q"
    local schedule, why = parse(table.concat(words))
    if schedule then error(table.concat(words) .. " is parsed") end
    if not why:find("in place of " .. words[at] .. " there may be ", 1, true) then error(why) end
  end
end)

for name, expected in pairs {
  ["nonsense"] = "in place of nonsense there may be turned, gather, planes, window, lanes, fold, ranges, direct, panel, planar, depthwise, split, winograd or plain",
  [""] = "it ends where there must be turned, gather, planes,",
  ["direct"] = "it ends where there must be .pN or .iN (N: 1 to 1048576)",
  ["direct.p7.v4.row4"] = "in place of .row4 there may be .rowsN",
  ["direct.p7.v4.rows4.x"] = "in place of .x there may be .fetch, .across, .stream or nothing",
  ["direct.p0.v4.rows4"] = "in place of .p0 there may be .pN or .iN",
  ["direct.p1048577.v4.rows4"] = "in place of .p1048577 there may be",
  ["direct.p07.v4.rows4"] = "in place of .p07 there may be",
  ["gather/planar.c1.v1.rows1"] = "in place of gather there may be planar",
  ["gather/product.r1.v1"] = "in place of /product there may be /planes, /window, /lanes, /fold, /ranges, /direct or /panel",
  ["planes/direct.p7.v4.rows4"] = "in place of /direct there may be .sN",
  ["direct.p7.v4.rows4/product.r1.v1"] = "in place of /product there may be .fetch, .across, .stream or nothing",
  ["winograd.4x4.t28.s1"] = "it ends where there must be .dN, .fetch, .stream or /product",
  ["winograd.4x4+4.t28.s1/product.r1.v1"] = "in place of .4x4+4 there may be .NxN or .N+NxN+N",
  ["winograd.4x04.t28.s1/product.r1.v1"] = "in place of .4x04 there may be",
  ["winograd.4x4.t28.s1/product.r1.v1.half.fuse"] = "in place of .fuse there may be nothing",
  ["depthwise.r2.p4.moves"] = "in place of .moves there may be .moved, .across or nothing",
  ["plain.x"] = "in place of .x there may be nothing",
  [("x"):rep(96)] = "names have at most 95 letters",
} do
  suite.case("'" .. name .. "' is refused", function()
    local schedule, why = parse(name)
    equal(schedule, nil)
    if not why:find(expected, 1, true) then error(("got\n%s\nexpected\n%s"):format(why, expected)) end
  end)
end

return suite.failures()
