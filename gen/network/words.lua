-- network/words.lua: the words behind an operation's operands: kinds of them, each read and printed.
--
-- A kind is { name, shown, needed, read, text }: read(words, at, attributes) gives the place behind what it has read,
-- or nil: the word is not of this kind; text(value) is what is printed of attributes[name].
local text = require "network/text"
local types = require "network/types"
local words = {}

local fail = text.fail

function words.needed(kind)
  kind.needed = true
  return kind
end

-- A word alone.
function words.flag(name)
  return { name = name, shown = name, text = function() return name end,
    read = function(list, at, a)
      if list[at] ~= name then return nil end
      a[name] = true
      return at + 1
    end }
end

-- One of some words.
function words.choice(name, choices)
  return { name = name, shown = table.concat(choices, "|"), text = function(value) return value end,
    read = function(list, at, a)
      for _, choice in ipairs(choices) do
        if list[at] == choice then
          a[name] = choice
          return at + 1
        end
      end
    end }
end

-- A word and, behind it, its value. value: { of, text, shown }.
function words.keyed(name, value, key)
  key = key or name
  return { name = name, shown = key .. " " .. value.shown,
    text = function(v) return key .. " " .. value.text(v) end,
    read = function(list, at, a)
      if list[at] ~= key then return nil end
      a[name] = list[at + 1] and value.of(list[at + 1])
      if a[name] == nil then fail("%s %s: allowed is %s %s", key, list[at + 1] or "", key, value.shown) end
      return at + 2
    end }
end

-- A value alone, known by its form.
function words.bare(name, value)
  return { name = name, shown = value.shown, text = value.text,
    read = function(list, at, a)
      local v = value.of(list[at])
      if v == nil then return nil end
      a[name] = v
      return at + 1
    end }
end

-- A letter with its value behind it: k3x3.
function words.lettered(name, letter, value)
  return { name = name, shown = letter .. value.shown,
    text = function(v)
      local shown = value.text(v)
      return shown and letter .. shown
    end,
    read = function(list, at, a)
      local v = list[at]:sub(1, #letter) == letter and value.of(list[at]:sub(#letter + 1))
      if not v then return nil end
      a[name] = v
      return at + 1
    end }
end

---- values ------------------------------------------------------------------------------------------------------------

local function commas(values) return text.list(values, ",") end
local function times(values) return text.list(values, "x") end
local function integers(least)
  return function(word) return text.integers_of(word, ",", least) end
end

words.axis = { shown = "A (0 or more)", text = text.number, of = function(word) return text.integer_of(word, 0, 7) end }
words.number = { shown = "NUMBER", text = text.number, of = text.number_of }
words.size = { shown = "N", text = text.number, of = function(word) return text.integer_of(word, 1, text.most) end }
words.axes = { shown = "A,A,...", text = commas, of = integers(0) }
words.sizes = { shown = "N,N,...", text = commas, of = integers(1) }
words.counts = { shown = "N,N,... (0 or more)", text = commas, of = integers(0) }
words.integers = { shown = "N,N,...", text = commas, of = integers(-text.most) }
words.dims = { shown = "NxN...", text = text.dims, of = text.dims_of }
words.windows = { shown = "NxN...", text = times, of = function(word) return text.integers_of(word, "x", 1) end }
words.pads = { shown = "NxN...", text = times, of = function(word) return text.integers_of(word, "x", 0) end }
words.factors = { shown = "FxF...", text = times, of = function(word) return text.numbers_of(word, "x") end }
words.type = { shown = "f32|f64|i64", text = tostring,
  of = function(word) return types.is(word) and word or nil end }

---- all words of an operation -----------------------------------------------------------------------------------------

local function shown(kinds)
  local list = {}
  for i, kind in ipairs(kinds) do list[i] = kind.needed and kind.shown or "[" .. kind.shown .. "]" end
  return #list > 0 and table.concat(list, " ") or "nothing"
end

local function take(kinds, list, at, attributes)
  for _, kind in ipairs(kinds) do
    local after = attributes[kind.name] == nil and kind.read(list, at, attributes)
    if after then return after end
  end
  fail("'%s' is not allowed here; allowed is: %s", list[at], shown(kinds))
end

function words.read(kinds, list)
  local attributes, at = {}, 1
  while list[at] do at = take(kinds, list, at, attributes) end
  for _, kind in ipairs(kinds) do
    if kind.needed and attributes[kind.name] == nil then
      fail("%s is missing; allowed is: %s", kind.shown, shown(kinds))
    end
  end
  return attributes
end

function words.print(kinds, attributes)
  local list = {}
  for _, kind in ipairs(kinds) do
    if attributes[kind.name] ~= nil then list[#list + 1] = kind.text(attributes[kind.name]) end
  end
  return table.concat(list, " ")
end

return words
