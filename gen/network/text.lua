-- network/text.lua: the words of a network file: names, numbers, lists; read and written.
--
-- What is wrong raises a refusal: a table with one sentence, to which whoever knows the place adds it. Sizes are
-- integers from 1 to 2^31-1 and tensors have at most 2^40 elements, so that no product of sizes overflows.
local text = {}

local most, most_elements, longest_name = (1 << 31) - 1, 1 << 40, 1000
text.most = most

---- refusals ----------------------------------------------------------------------------------------------------------

local refusal = {}

function text.fail(sentence, ...) error(setmetatable({ sentence = sentence:format(...) }, refusal), 0) end
local fail = text.fail

-- f(...): what it gives, or nil and the sentence of its refusal. Other errors go on.
function text.caught(f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  if getmetatable(results[2]) ~= refusal then error(results[2], 0) end
  return nil, results[2].sentence
end

---- names -------------------------------------------------------------------------------------------------------------

local escapes = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local written = { ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r",
  ["\t"] = "\\t" }

local function low_surrogate(line, at)
  local digits = line:match("^\\u([dD][c-fC-F]%x%x)", at)
  return digits and tonumber(digits, 16) or fail "a name has half of a surrogate pair: both halves are needed"
end

-- The character that stands at \uXXXX, and where it ends.
local function unicode(line, at)
  local digits = line:match("^u(%x%x%x%x)", at) or fail "a name has \\u without four hex digits"
  local code = tonumber(digits, 16)
  if code < 0xd800 or code > 0xdfff then return utf8.char(code), at + 5 end
  if code > 0xdbff then fail "a name has half of a surrogate pair: both halves are needed" end
  local low = low_surrogate(line, at + 5)
  return utf8.char(0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00)), at + 11
end

local function escaped(line, at)
  local plain = escapes[line:sub(at, at)]
  if plain then return plain, at + 1 end
  return unicode(line, at)
end

-- The JSON string that begins at `at`, and where it ends.
local function quoted(line, at)
  local parts = {}
  at = at + 1
  while true do
    local plain = line:match('^[^"\\%c]*', at)
    at = at + #plain
    parts[#parts + 1] = plain
    local next = line:sub(at, at)
    if next == '"' then return table.concat(parts), at + 1 end
    if next ~= "\\" then fail 'a name in quotes has no closing quote, or a control character' end
    parts[#parts + 1], at = escaped(line, at + 1)
  end
end

local function checked_name(name)
  if name:find("\0", 1, true) then fail "a name has a character 0: all others are allowed" end
  if name == "" or #name > longest_name or not utf8.len(name) then
    fail("a name has %d bytes: allowed are 1 to %d, in UTF-8", #name, longest_name)
  end
  return name
end

-- The name that begins at `at`, bare or in quotes, and where it ends; nil: there is none.
function text.name_at(line, at)
  if line:sub(at, at) == '"' then
    local name, after = quoted(line, at)
    return checked_name(name), after
  end
  local bare = line:match("^[A-Za-z_][A-Za-z0-9_.]*", at)
  if bare then return checked_name(bare), at + #bare end
end

function text.name(name)
  if name:match "^[A-Za-z_][A-Za-z0-9_.]*$" then return name end
  return '"' .. name:gsub('[%c"\\]', function(c) return written[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

---- numbers -----------------------------------------------------------------------------------------------------------

local infinities = { inf = math.huge, ["+inf"] = math.huge, ["-inf"] = -math.huge, infinity = math.huge,
  ["-infinity"] = -math.huge }

-- A decimal number, as a float; nil: it is none.
function text.number_of(word)
  if infinities[word] then return infinities[word] end
  local digits = word:match "^[-+]?([%d.]+)[eE][-+]?%d+$" or word:match "^[-+]?([%d.]+)$"
  local value = digits and digits:match "%d" and tonumber((word:gsub("^%+", "")))
  return value and value + 0.0
end

-- The number that begins at `at`, and where it ends; nil: there is none.
function text.number_at(line, at)
  local word = line:match("^[-+]?[%d.][%w.]*[-+]?%d*", at)
  word = word and (line:match("^[-+]?[%d.]+[eE][-+]?%d+", at) or line:match("^[-+]?[%d.]+", at))
  local value = word and text.number_of(word)
  if value then return value, at + #word end
end

-- As short as it can be read back.
function text.number(value)
  if value == math.huge then return "inf" elseif value == -math.huge then return "-inf" end
  if value == 0 then return 1 / value < 0 and "-0.0" or "0" end
  local integer = math.tointeger(value)
  if integer and math.abs(integer) < 1000000 or math.type(value) == "integer" then return ("%d"):format(integer) end
  for digits = 1, 16 do
    local short = ("%." .. digits .. "g"):format(value)
    if tonumber(short) == value then return short end
  end
  return ("%.17g"):format(value)
end

-- An integer within [least, highest]; nil: it is none.
function text.integer_of(word, least, highest)
  local value = word:match "^-?%d+$" and #word <= 18 and math.tointeger(tonumber(word))
  return value and value >= least and value <= highest and value or nil
end

---- lists and sizes ---------------------------------------------------------------------------------------------------

-- What stands between separators, each read by `read`; nil: one is not that.
local function list_of(word, separator, read)
  local list = {}
  for part in (word .. separator):gmatch("(.-)" .. separator) do
    local value = read(part)
    if value == nil then return nil end
    list[#list + 1] = value
  end
  return list
end

function text.integers_of(word, separator, least)
  return list_of(word, separator, function(part) return text.integer_of(part, least, most) end)
end

function text.numbers_of(word, separator) return list_of(word, separator, text.number_of) end

function text.list(values, separator)
  local words = {}
  for i, value in ipairs(values) do words[i] = text.number(value) end
  return table.concat(words, separator)
end

-- 24x1x3x3, or `scalar`; nil: it is none.
function text.dims_of(word)
  if word == "scalar" then return {} end
  return text.integers_of(word, "x", 1)
end

function text.dims(dims) return #dims == 0 and "scalar" or text.list(dims, "x") end

-- The elements of a tensor; refuses what is beyond any memory before it is multiplied.
function text.elements(dims)
  local product = 1
  if #dims > 8 then fail("a tensor has %d dimensions: allowed are 0 to 8", #dims) end
  for _, size in ipairs(dims) do
    if size < 1 or size > most then fail("a dimension is %d: allowed is 1 to %d", size, most) end
    if product > most_elements // size then
      fail("a tensor of %s has too many elements: at most 2^40 are allowed", text.dims(dims))
    end
    product = product * size
  end
  return product
end

return text
