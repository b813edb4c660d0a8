-- How a stage's tasks are shared: each task runs once whatever the number of threads, and shares differ by little.
local suite = require "suite"
local driver = require "driver"

-- The loops of a stage's text as functions of first and last: {from, to} each.
local function loops_of(stage)
  local list = {}
  for from, to in driver.print(stage, "float"):gmatch "for %(long task = ([^,]+), stop = ([^;]+);" do
    local function number(text) return load("local first, last = ... return " .. text:gsub("/", "//")) end
    list[#list + 1] = { number(from), number(to) }
  end
  return list
end

local function stage_of(counts)
  local parts = {}
  for i, count in ipairs(counts) do parts[i] = { indices = { { "n", count } }, body = function() end } end
  return driver.stage { name = "test", parts = parts }
end

-- As runtime/parallel.c shares.
local function share(tasks, part, parts) return tasks // parts * part + math.min(part, tasks % parts) end

-- Most and fewest tasks of a thread.
local function shared(counts, threads)
  local stage = stage_of(counts)
  local loops, most, fewest = loops_of(stage), 0, math.huge
  local at = {}
  for i = 1, #counts do at[i] = 0 end
  for t = 0, threads - 1 do
    local first, last, own = share(stage.tasks, t, threads), share(stage.tasks, t + 1, threads), 0
    for i, loop in ipairs(loops) do
      local from, to = loop[1](first, last), loop[2](first, last)
      suite.equal(from, at[i])
      assert(to >= from)
      at[i], own = to, own + to - from
    end
    most, fewest = math.max(most, own), math.min(fewest, own)
  end
  for i, count in ipairs(counts) do suite.equal(at[i], count) end
  return most, fewest
end

suite.case("each task runs once", function()
  for _, counts in ipairs { { 1, 12, 1 }, { 1, 5, 1 }, { 3, 1, 1, 7, 1 }, { 1, 1, 1, 1 }, { 1000000, 1, 31 }, { 1, 1 << 31 } } do
    for threads = 1, 17 do shared(counts, threads) end
  end
end)

suite.case("two threads get as many tasks as each other, or one more", function()
  for _, counts in ipairs { { 1, 12, 1 }, { 1, 5, 1 }, { 1, 1, 1, 1 }, { 1, 3, 1, 3, 9, 3, 1, 3, 1 }, { 2, 5, 4, 7 } } do
    local most, fewest = shared(counts, 2)
    assert(most - fewest <= 1, table.concat(counts, " ") .. ": " .. most .. " and " .. fewest)
  end
end)

return suite.failures()
