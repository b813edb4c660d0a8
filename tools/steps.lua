-- steps.lua: what a program of gen/activations.lua or gen/functions.lua does to one number, as a function in C.
--
-- It takes the operations of program.lua that these use, and writes each as it is defined for a lane; fma, bits, up and down are
-- macros of steps.head, with the type behind their names; INLINE is a macro of who includes it. max and min give y where one of the two is NaN.
local types = require "types"
local steps = {}

local means = {
  zero = "0", move = "x", add = "x + y", sub = "x - y", mul = "x * y", div = "x / y",
  max = "x > y ? x : y", min = "x < y ? x : y", fma = "fma_T(x, y, d)", fnma = "fma_T(-x, y, d)", muladd = "fma_T(d, x, y)",
  band = "bits_T(x, &, y)", bor = "bits_T(x, |, y)", bxor = "bits_T(x, ^, y)", shift = "up_T(x, y)", down = "down_T(x, y)",
}

local head = [[
typedef union word_@ { T value; WORD bits; } word_@;
#define fma_@ __builtin_fmaSUFFIX
#define bits_@(x, op, y) ((word_@){.bits = (word_@){x}.bits op (word_@){y}.bits}.value)
#define up_@(x, n) ((word_@){.bits = (word_@){x}.bits << (n)}.value)
#define down_@(x, n) ((word_@){.bits = (word_@){x}.bits >> (n)}.value)
]]

local function suffix(type_) return type_ == "f32" and "f" or "" end -- of functions of <math.h>

-- What stands once before the functions of a type.
function steps.head(type_)
  local word = ("uint%d_t"):format(8 * types.bytes(type_))
  return (head:gsub("@", type_):gsub("WORD", word):gsub("SUFFIX", suffix(type_)):gsub("T value", types.c(type_) .. " value"))
end

local Steps = {}
Steps.__index = Steps

-- A parameter, which a program may compare: it is as general as it can be.
local parameter = { __lt = function() return true end }

for name, text in pairs(means) do
  Steps[name] = function(k, d, x, y)
    local operand = { d = d, x = x, y = y and k:number(y) }
    table.insert(k.lines, ("    %s = %s;"):format(d, (text:gsub("%f[%w]%l%f[%W]", operand):gsub("_T", "_" .. k.type))))
  end
end

function Steps:vector(hint)
  local n = (self.taken[hint] or 0) + 1
  self.taken[hint] = n
  local name = n == 1 and hint or hint .. "_" .. n
  table.insert(self.names, name)
  return name
end

-- A number of the type in C; what else is an operand stays.
function Steps:number(x)
  if type(x) == "table" then return x.name end
  if math.type(x) == nil then return x end
  if math.type(x) == "integer" then return tostring(x) end
  return (x == math.huge and "INFINITY" or x == -math.huge and "-INFINITY" or "%a" .. self.suffix):format(x)
end

function Steps:constant(d, value)
  table.insert(self.lines, ("    %s = %s;"):format(d, self:number(value)))
end

-- make(k, y, e, temp) puts the program of the function called `name` of a type into k.
function steps.text(name, type_, make)
  local k = setmetatable({ type = type_, suffix = suffix(type_), lines = {}, names = {},
    taken = { y = 1, lo = 1, hi = 1, temp = 1 } }, Steps)
  local function named(word) return setmetatable({ name = word }, parameter) end
  make(k, "y", { lo = named "lo", hi = named "hi" }, "temp")
  local T = types.c(type_)
  return ("INLINE %s %s_%s(%s y, %s lo, %s hi, %s temp)\n{\n%s    (void)lo, (void)hi, (void)temp;\n%s\n    return y;\n}\n")
    :format(T, name, type_, T, T, T, T, #k.names > 0 and ("    %s %s;\n"):format(T, table.concat(k.names, ", ")) or "",
      table.concat(k.lines, "\n"))
end

return steps
