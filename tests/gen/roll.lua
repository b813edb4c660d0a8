-- What repeats becomes loops: which loops, and that a list unrolled again is the list that it was.
local suite = require "suite"
local roll = require "lower/roll"
local case, equal = suite.case, suite.equal

local function statement(key, ...) return { key = key, at = { ... }, of = { ... } } end
local function wall() return { at = {}, of = {} } end -- what has no key

-- Statements "a", "a 4" or "|" of a text, apart by commas.
local function parsed(text)
  local list = {}
  for words in text:gmatch "[^,]+" do
    local key, numbers = words:match "^%s*(%S+)%s*(.-)%s*$", {}
    for n in words:gmatch "%-?%d+" do numbers[#numbers + 1] = math.tointeger(n) end
    list[#list + 1] = key == "|" and wall() or statement(key, table.unpack(numbers))
  end
  return list
end

local printed

local function printed_node(node)
  if not node.steps then return node.key and table.concat({ node.key, table.unpack(node.at) }, " ") or "|" end
  return ("%d of {%s} by (%s)"):format(node.count, printed(node.body), table.concat(node.steps, " "))
end

function printed(list)
  local words = {}
  for i, node in ipairs(list) do words[i] = printed_node(node) end
  return table.concat(words, ", ")
end

-- The statements of a list, all turns one behind the other, numbers as those of loops say.
local function unrolled(list)
  local out = {}
  local function visit(node, numbers, first)
    if not node.steps then
      out[#out + 1] = table.concat({ node.key or "|", table.unpack(numbers, first, first + #node.at - 1) }, " ")
      return
    end
    for turn = 0, node.count - 1 do
      local now, at = {}, 1
      for i, step in ipairs(node.steps) do now[i] = numbers[first + i - 1] + turn * step end
      for _, inner in ipairs(node.body) do
        visit(inner, now, at)
        at = at + #inner.at
      end
    end
  end
  for _, node in ipairs(list) do visit(node, node.at, 1) end
  return table.concat(out, ", ")
end

---- which loops -------------------------------------------------------------------------------------------------------

local rows = {
  { "one statement", "a 0, a 4, a 8", "3 of {a 0} by (4)" },
  { "statements that go down", "a 8, a 4, a 0", "3 of {a 8} by (-4)" },
  { "the same again is no loop", "a 4, a 4, a 4", "a 4, a 4, a 4" },
  { "another step ends a loop", "a 0, a 4, a 8, a 9", "3 of {a 0} by (4), a 9" },
  { "another key ends a loop", "a 0, a 1, b 2", "2 of {a 0} by (1), b 2" },
  { "what has no key stays between", "a 0, a 1, |, a 2, a 3", "2 of {a 0} by (1), |, 2 of {a 2} by (1)" },
  { "two statements, of which a loop of two turns would be no fewer lines", "a 0, b 0, a 1, b 5", "a 0, b 0, a 1, b 5" },
  { "two statements by turns", "a 0, b 0, a 1, b 5, a 2, b 10", "3 of {a 0, b 0} by (1 5)" },
  { "a loop in a loop", "a 0, a 1, a 10, a 11, a 20, a 21", "3 of {2 of {a 0} by (1)} by (10)" },
  { "loops of other counts stay apart", "a 0, a 1, a 10, a 11, a 12", "2 of {a 0} by (1), 3 of {a 10} by (1)" },
  { "numbers beside one that stays", "a 0 7, a 1 7, a 2 7", "3 of {a 0 7} by (1 0)" },
  { "nothing", "", "" },
}
for _, row in ipairs(rows) do
  case(row[1], function() equal(printed(roll.list(parsed(row[2]))), row[3]) end)
end

case("a turn has at most so many statements", function()
  local function turns_of(length)
    local list = {}
    for turn = 0, 2 do
      for i = 1, length do list[#list + 1] = statement("k" .. i, turn) end
    end
    return #roll.list(list)
  end
  equal(turns_of(64), 1)
  equal(turns_of(65), 3 * 65)
end)

---- random lists ------------------------------------------------------------------------------------------------------

local seed = math.tointeger(tonumber(os.getenv "CONVGEN_SEED")) or os.time()
print("seed " .. seed)
math.randomseed(seed)
local random = math.random

-- Nests of what repeats, with something else here and there.
local function random_list(depth)
  local list = {}
  for _ = 1, random(1, 4) do
    if depth > 0 and random(3) > 1 then
      local inner, step = random_list(depth - 1), random(-3, 3)
      for turn = 0, random(1, 4) do
        for _, node in ipairs(inner) do
          local numbers = {}
          for i, n in ipairs(node.at) do numbers[i] = n + turn * step * i end
          list[#list + 1] = node.key and statement(node.key, table.unpack(numbers)) or wall()
        end
      end
    else
      list[#list + 1] = random(8) == 1 and wall() or random(2) == 1 and statement("a", random(0, 2))
        or statement("b", random(0, 2), random(0, 2))
    end
  end
  return list
end

case("random lists say the same in loops", function()
  local shorter = 0
  for n = 1, 2000 do
    local list = random_list(2)
    local before, count = unrolled(list), #list
    local loops = roll.list(list)
    if #loops < count then shorter = shorter + 1 end
    local after = unrolled(loops)
    if after ~= before then error(("seed %d, list %d: %s\nhas become %s"):format(seed, n, before, printed(loops))) end
  end
  if shorter < 200 then error(("seed %d: only %d lists have loops"):format(seed, shorter)) end
end)

return suite.failures()
