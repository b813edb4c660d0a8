-- names.lua: the grammar of schedules' names, "planes.s1/direct.p7.v4.rows4.fetch": printed, parsed, and what is wrong.
--
-- A name is nodes from the outside in, with "/" between them; a node is a word, its fields and its marks, in their
-- order and with "." between them. What is done around a tile is a node of its own, which stands where it is a choice.
-- A family states its forms; a form is nodes (sums: for backward weights), and a node is
--   { "direct", fields = { { "p", "pixels" }, ... }, marks = { "fetch", { "half", "fuse" }, ... }, when = key }
-- Field: .p7 is pixels = 7; `optional` where it may be missing; `flag` for a word alone, .row; `sizes` for those of
-- two axes, .4+3x4+3. Marks: words that may stand, of those in a list at most one. when: the node stands where the
-- schedule has this key. A schedule is a flat table of what its name says, and of its family; sizes are 1 to 2^20, so
-- that what is made of them is an integer.
local names = {}

-- Letters of a name, as records hold it (CG_NAME); the largest size.
local longest, largest = 95, 1 << 20

---- what stands between two dots ------------------------------------------------------------------------------------

-- An item: shown: how people are told of it; text(schedule): its word, or nil; read(word, schedule): whether it is one,
-- which the schedule then has.

local function read_size(digits)
  local size = digits and digits:match "^[1-9]%d*$" and math.tointeger(tonumber(digits))
  return size and size <= largest and size or nil
end

local function field(row)
  local letter, key = row[1], row[2]
  local pattern = "^" .. letter .. "(%d+)$"
  return { shown = { letter .. "N" }, size = true, optional = row.optional, key = key,
    text = function(s) return s[key] and letter .. s[key] end,
    read = function(word, s)
      s[key] = read_size(word:match(pattern))
      return s[key]
    end }
end

-- One of some words, which stands for the key or, without one, for a key of its own.
local function one_of(words, key, optional)
  return { shown = words, optional = optional, key = key or words[1],
    text = function(s)
      for _, word in ipairs(words) do if s[key or word] then return word end end
    end,
    read = function(found, s)
      for _, word in ipairs(words) do
        if word == found then s[key or word] = true; return true end
      end
    end }
end

-- {4, 3} -> "4+3", and back; nil: those are no sizes, the larger one first.
local function print_sizes(sizes) return table.concat(sizes, "+") end

local function read_sizes(text)
  local big, small = text:match "^(%d+)%+?(%d*)$"
  local sizes = { read_size(big), read_size(small) }
  local ordered = sizes[1] and (small == "" or sizes[2] and sizes[2] < sizes[1])
  return ordered and print_sizes(sizes) == text and sizes or nil
end

local function two_sizes(row)
  local one, other = row.sizes[1], row.sizes[2]
  return { shown = { "NxN", "N+NxN+N" }, size = true, key = one,
    text = function(s) return print_sizes(s[one]) .. "x" .. print_sizes(s[other]) end,
    read = function(word, s)
      local a, b = word:match "^([%d+]+)x([%d+]+)$"
      s[one], s[other] = a and read_sizes(a), b and read_sizes(b)
      return s[one] and s[other]
    end }
end

---- families ---------------------------------------------------------------------------------------------------------

local of_family = {}

local function node_of(row)
  local word = row[1]
  local head = { shown = { word }, read = function(found) return found == word end }
  local node = { word = word, when = row.when, head = head }
  for _, f in ipairs(row.fields or {}) do
    table.insert(node, f.sizes and two_sizes(f) or f.flag and one_of({ f[1] }, f.flag) or field(f))
  end
  for _, m in ipairs(row.marks or {}) do table.insert(node, one_of(type(m) == "table" and m or { m }, nil, true)) end
  return node
end

local function form_of(family, rows)
  local form = { family = family, needs = {}, sums = rows.sums or false }
  for i, row in ipairs(rows) do
    form[i] = node_of(row)
    for _, item in ipairs(row.when and {} or form[i]) do
      if not item.optional then table.insert(form.needs, item.key) end
    end
  end
  return form
end

function names.family(family, forms)
  of_family[family] = {}
  for i, rows in ipairs(forms) do of_family[family][i] = form_of(family, rows) end
end

---- schedule -> name -------------------------------------------------------------------------------------------------

local function has_form(s, form)
  for _, key in ipairs(form.needs) do if s[key] == nil then return false end end
  return true
end

local function form_with(s)
  for _, form in ipairs(of_family[s.family]) do
    if has_form(s, form) then return form end
  end
end

-- Whether a schedule has a form of backward weights.
function names.sums(s) return form_with(s).sums end

-- The name, and the name without its sizes: an estimate may be wrong about all schedules that are alike in this, their
-- way. only: a set of keys; then no others' fields, marks and nodes stand in it.
function names.print(s, only)
  local name, way = {}, {}
  for _, node in ipairs(form_with(s)) do
    if not node.when or s[node.when] and (not only or only[node.when]) then
      local head = (name[1] and "/" or "") .. node.word
      name[#name + 1], way[#way + 1] = head, head
      for _, item in ipairs(node) do
        local text = (not only or only[item.key]) and item.text(s)
        if text then name[#name + 1] = "." .. text end
        if text and not item.size then way[#way + 1] = "." .. text end
      end
    end
  end
  return table.concat(name), table.concat(way)
end

---- name -> schedule -------------------------------------------------------------------------------------------------

-- "planes.s1/direct.p7" -> "planes", ".s1", "/direct", ".p7".
local function words_of(name)
  local words = {}
  for word in name:gmatch "[./]?[^./]*" do words[#words + 1] = word ~= "" and word or nil end
  return words
end

-- Reading goes on at word `at`; allowed: what might have stood there.
local function take(reader, item, dot)
  local word = reader.words[reader.at]
  if word and word:sub(1, #dot) == dot and item.read(word:sub(#dot + 1), reader.schedule) then
    reader.at, reader.allowed = reader.at + 1, {}
    return true
  end
  for _, shown in ipairs(item.shown) do table.insert(reader.allowed, dot .. shown) end
  return item.optional or false
end

local function take_node(reader, node)
  if not take(reader, node.head, reader.at == 1 and "" or "/") then return node.when ~= nil end
  if node.when then reader.schedule[node.when] = true end -- or what its field says
  for _, item in ipairs(node) do
    if not take(reader, item, ".") then return false end
  end
  return true
end

-- The schedule; or nil, at which word it ends, and what might have stood there.
local function read_form(form, words)
  local reader = { words = words, at = 1, allowed = {}, schedule = { family = form.family } }
  for _, node in ipairs(form) do
    if not take_node(reader, node) then return nil, reader end
  end
  if reader.at > #words then return reader.schedule end
  table.insert(reader.allowed, "nothing")
  return nil, reader
end

local function listed(words)
  local list, seen = {}, {}
  for _, word in ipairs(words) do
    if not seen[word] then list[#list + 1] = word end
    seen[word] = true
  end
  local last = table.remove(list)
  return #list > 0 and table.concat(list, ", ") .. " or " .. last or last
end

local function sentence(name, word, allowed)
  local may = listed(allowed)
  local where = word and ("in place of %s there may be"):format(word) or "it ends where there must be"
  local sizes = may:find "N" and (" (N: 1 to %d)"):format(largest) or ""
  return ("'%s' is no schedule: %s %s%s"):format(name, where, may, sizes)
end

-- "planes.s1/direct.p7.v4.rows4" -> the schedule of one of these families; nil and a sentence that names the culprit.
-- Of their forms those that get furthest tell what is allowed.
function names.parse(name, families)
  if #name > longest then
    return nil, ("'%.40s...' is no schedule: names have at most %d letters"):format(name, longest)
  end
  local words, furthest, allowed = words_of(name), 0, {}
  for _, family in ipairs(families) do
    for _, form in ipairs(of_family[family]) do
      local schedule, reader = read_form(form, words)
      if schedule then return schedule end
      if reader.at > furthest then furthest, allowed = reader.at, {} end
      if reader.at == furthest then table.move(reader.allowed, 1, #reader.allowed, #allowed + 1, allowed) end
    end
  end
  return nil, sentence(name, words[furthest], allowed)
end

return names
