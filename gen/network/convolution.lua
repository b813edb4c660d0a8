-- network/convolution.lua: the descriptor and the epilogue of a convolution in a network file, read and written.
--
-- The notation is that of lists of problems (runtime/problem/notation.c has its deductions); the batch is the input's.
-- A window is the sizes of three axes, d, h and w: i, o, k, s, p and d, the dilation (1: dense).
local text = require "network/text"
local activations = require "activations"
local convolution = {}

local fail, most = text.fail, text.most
local axes = { "d", "h", "w" }

---- the descriptor ----------------------------------------------------------------------------------------------------

local least = { i = 0, o = 0, k = 0, s = 1, p = -most, d = 0 }

local function key_at(word, at)
  local pair = word:match("^mb", at) or word:match("^[io]c", at)
  if pair then return pair, 1 end
  local letter = word:match("^[iokspd][dhw]", at)
  if letter then return letter, least[letter:sub(1, 1)] end
  if word:match("^g%d", at) then return "g", 1 end
  fail("unknown letter at '%s': a descriptor is made of g mb ic oc, i o k s p d with d h or w, a number after each",
    word:sub(at, at + 15))
end

-- Numbers by key, as they are written.
local function fields_of(word)
  local fields, at = {}, 1
  while at <= #word do
    local key, smallest = key_at(word, at)
    local digits = word:match("^-?%d+", at + #key) or fail("%s has no number after it", key)
    local value = text.integer_of(digits, smallest, most)
    if not value then fail("%s%s: %s must be %d to %d", key, digits, key, smallest, most) end
    if fields[key] then fail("%s is given twice: once is allowed", key) end
    fields[key] = value
    at = at + #key + #digits
    at = at + #word:match("^_*", at)
  end
  return fields
end

local function given(f, a)
  return (f["i" .. a] or 0) ~= 0 or (f["k" .. a] or 0) ~= 0 or (f["o" .. a] or 0) ~= 0 or (f["d" .. a] or 0) ~= 0
    or (f["s" .. a] or 1) ~= 1 or (f["p" .. a] or 0) ~= 0
end

local function reach(w) return (w.k - 1) * w.d + 1 end
convolution.reach = reach

-- The leading pad that an output size means where none is given.
local function deduced_pad(w, transposed)
  local windows, room = w.o, w.i
  if transposed then windows, room = room, windows end
  local needed = (windows - 1) * w.s + reach(w) - room
  return needed > 0 and needed // 2 or 0
end

local function default_out(w, transposed)
  if transposed then return (w.i - 1) * w.s + reach(w) - 2 * w.p end
  return (w.i + 2 * w.p - reach(w)) // w.s + 1
end

local function axis_of(f, a, transposed)
  local w = { i = f["i" .. a] or 0, o = f["o" .. a] or 0, k = f["k" .. a] or 0, s = f["s" .. a] or 1,
    p = f["p" .. a] or 0, d = (f["d" .. a] or 0) + 1 }
  if w.i == 0 or w.k == 0 then fail("%s%s is missing: a dimension needs i%s and k%s, 1 or more",
    w.i == 0 and "i" or "k", a, a, a) end
  if w.o ~= 0 and not f["p" .. a] then w.p = deduced_pad(w, transposed) end
  if w.o == 0 then w.o = default_out(w, transposed) end
  if w.o < 1 or w.o > most then fail("o%s would be %d: allowed is 1 to %d", a, w.o, most) end
  return w
end

-- Groups, channels and the windows of d, h and w.
function convolution.read(word, transposed)
  local f, before = fields_of(word), nil
  local c = { g = f.g or 1, mb = f.mb, ic = f.ic or fail "ic is missing", oc = f.oc or fail "oc is missing" }
  for n, a in ipairs(axes) do
    local window = given(f, a) and axis_of(f, a, transposed) or before
    before = window
    c[n] = window or { i = 1, o = 1, k = 1, s = 1, p = 0, d = 1 }
  end
  if not before then fail "no spatial dimension: iw and kw, or ih and kh, or id and kd are needed" end
  if c.ic % c.g ~= 0 or c.oc % c.g ~= 0 then fail("g%d does not divide ic%d and oc%d", c.g, c.ic, c.oc) end
  return c
end

local function spelled(c, letter, first, base)
  local words = {}
  for n = first, 3 do words[#words + 1] = ("%s%s%d"):format(letter, axes[n], c[n][letter] - (base or 0)) end
  return table.concat(words)
end

local function all(c, first, is)
  for n = first, 3 do if not is(c[n]) then return false end end
  return true
end

-- The canonical spelling for `rank` spatial axes; with a batch where one is given.
function convolution.descriptor(c, rank, batch, transposed)
  local first = 4 - rank
  local dense = all(c, first, function(w) return w.p == 0 and deduced_pad(w, transposed) == 0 end)
  return (c.g > 1 and "g" .. c.g or "") .. (batch and "mb" .. batch or "") .. "ic" .. c.ic .. spelled(c, "i", first)
    .. "oc" .. c.oc .. spelled(c, "o", first) .. spelled(c, "k", first)
    .. (all(c, first, function(w) return w.s == 1 end) and "" or spelled(c, "s", first))
    .. (dense and "" or spelled(c, "p", first))
    .. (all(c, first, function(w) return w.d == 1 end) and "" or spelled(c, "d", first, 1))
end

-- Of a transposed convolution: no further than its last tap and an output padding.
function convolution.check_reached(w)
  local furthest = (w.i - 1) * w.s + reach(w) - w.p + math.max(w.s, w.d) - 1
  if w.o > furthest then fail("an output size is %d, of which taps and an output padding reach %d", w.o, furthest) end
end

local kinds = { conv = true, deconv = true, linear = true }

function convolution.kind_of(word) return kinds[word] and word or nil end

---- activations and epilogues -----------------------------------------------------------------------------------------

local legal = {
  clamp = function(lo, hi) return lo <= hi end,
  leaky = function(lo, hi) return lo == lo and math.abs(lo) < math.huge and hi < math.huge end,
  hardsigmoid = function(lo, hi) return math.abs(lo) < math.huge and math.abs(hi) < math.huge end,
}

local function parameters_of(word, row)
  local numbers = {}
  for part in word:gmatch ":([^:]*)" do
    numbers[#numbers + 1] = text.number_of(part) or fail("'%s' in %s is not a number", part, word)
  end
  local names = row.parameters or {}
  local fewest = names.absent and #names - 1 or #names
  if #numbers < fewest or #numbers > #names then
    fail("%s has %d numbers: allowed is %s", word, #numbers, table.concat({ row.name, table.unpack(names) }, ":"))
  end
  if names.absent and #numbers == 1 then numbers[2] = -math.huge end
  return numbers
end

local function activation_names()
  local names = {}
  for i = 2, #activations.list do names[#names + 1] = activations.list[i].name end
  return table.concat(names, ", ")
end

-- The activation that a word such as clamp:0:6 is: its name, lo and hi.
function convolution.activation_of(word)
  local row = activations.rows[word:match "^[^:]*"]
  if not row or row.name == "none" then
    fail("'%s' is not an activation; allowed are: %s", word, activation_names())
  end
  local numbers = parameters_of(word, row)
  if legal[row.name] and not legal[row.name](numbers[1], numbers[2]) then
    fail("the numbers of %s are out of range", word)
  end
  return { activation = row.name, lo = numbers[1] or 0.0, hi = numbers[2] or 0.0 }
end

function convolution.activation(e)
  local names, words = activations.rows[e.activation].parameters or {}, { e.activation }
  local count = names.absent and e.hi == -math.huge and #names - 1 or #names
  for i = 1, count do words[#words + 1] = text.number(i == 1 and e.lo or e.hi) end
  return table.concat(words, ":")
end

-- residual, residual_last, activation, lo and hi.
function convolution.epilogue_of(word)
  local e = { activation = "none", lo = 0.0, hi = 0.0 }
  if word == "none" then return e end
  for part in (word .. "+"):gmatch "(.-)%+" do
    if part == "residual" and not e.residual then
      e.residual, e.residual_last = true, e.activation ~= "none"
    elseif part ~= "residual" and e.activation == "none" then
      local a = convolution.activation_of(part)
      e.activation, e.lo, e.hi = a.activation, a.lo, a.hi
    else
      fail("--epilogue=%s: one activation and one residual are allowed", word)
    end
  end
  return e
end

-- The word of an epilogue, or nil where there is none.
function convolution.epilogue(e)
  local word = e.activation ~= "none" and convolution.activation(e) or nil
  if not e.residual then return word end
  if not word then return "residual" end
  return e.residual_last and word .. "+residual" or "residual+" .. word
end

return convolution
