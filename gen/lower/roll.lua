-- lower/roll.lua: statements that repeat with equal steps of their numbers -> one loop.
--
-- A list of nodes: a statement has a key, equal for statements that differ in nothing but numbers, and these numbers,
-- `at` (what each is: `of`); what has no key stays where it is. roll.list answers with a shorter list in which runs
-- have become nodes {count, body, steps}: `at` is the numbers of the first turn's statements one behind the other,
-- `steps` what each grows by from turn to turn. Such a node is a statement again, so that loops come to stand in loops.
-- The order of what is done does not change.
local roll = {}

local longest = 64 -- statements of a turn, at most

local function concatenated(list, first, count, field)
  local all = {}
  for i = first, first + count - 1 do table.move(list[i][field], 1, #list[i][field], #all + 1, all) end
  return all
end

local function same_keys(list, a, b, count)
  for i = 0, count - 1 do
    local key = list[a + i].key
    if not key or not list[b + i] or key ~= list[b + i].key then return false end
  end
  return true
end

-- What the numbers of `count` nodes from a on grow by to those from b on; as a list and as text.
local function growth(list, a, b, count)
  local steps, from, to = {}, concatenated(list, a, count, "at"), concatenated(list, b, count, "at")
  for i, n in ipairs(from) do steps[i] = to[i] - n end
  return steps, table.concat(steps, ",")
end

-- How many turns of `count` nodes there are from `first` on, and their steps.
local function turns(list, first, count)
  if not same_keys(list, first, first + count, count) then return 1 end
  local steps, text = growth(list, first, first + count, count)
  if not text:find "[1-9]" then return 1 end
  local n, at = 2, first + count
  while same_keys(list, at, at + count, count) and select(2, growth(list, at, at + count, count)) == text do
    n, at = n + 1, at + count
  end
  return n, steps, text
end

-- A body of one statement stands in its loop's line.
local function lines_of(body)
  local lines = 0
  for _, node in ipairs(body) do lines = lines + (node.lines or 1) end
  if #body > 1 then return lines + 2 end
  return body[1].count and lines + 1 or 1
end

local function rolled(list, first, count, n, steps, text)
  local body, keys = table.move(list, first, first + count - 1, 1, {}), {}
  for i, node in ipairs(body) do keys[i] = node.key end
  return { count = n, body = body, steps = steps, lines = lines_of(body), at = concatenated(list, first, count, "at"),
    of = concatenated(list, first, count, "of"), key = ("%d(%s)%s"):format(n, table.concat(keys, " "), text) }
end

-- The loop of what begins at node i with turns of `count` nodes, where it is fewer lines; and the node behind it.
local function loop_at(list, i, count)
  local n, steps, text = turns(list, i, count)
  if n == 1 then return nil end
  local node, before = rolled(list, i, count, n, steps, text), 0
  for at = i, i + n * count - 1 do before = before + (list[at].lines or 1) end
  if node.lines < before then return node, i + n * count end
end

-- The list with turns of `count` nodes as loops; and whether there were any. (Most nodes are not like the one `count`
-- behind them: that is found out first.)
local function pass(list, count)
  local out, i, size, found = {}, 1, #list, false
  while i <= size do
    local node, key, behind = list[i], list[i].key, i + 1
    if key and i + count <= size and list[i + count].key == key then
      local loop, next_one = loop_at(list, i, count)
      if loop then node, behind, found = loop, next_one, true end
    end
    out[#out + 1], i = node, behind
  end
  return found and out or list, found
end

-- Short turns first: these are the inner loops.
function roll.list(list)
  local count = 1
  while count <= math.min(longest, #list // 2) do
    local found
    list, found = pass(list, count)
    count = found and 1 or count + 1
  end
  return list
end

return roll
