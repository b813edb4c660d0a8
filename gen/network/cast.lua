-- cast.lua: copies into another type, element by element: f32 and f64, and integers of 64 bits.
--
-- All is computed in f64, of which an integer's bits are a number's. To an integer a number is cut towards zero; NaN
-- and what is beyond the integers become the least one. From an integer to f32 there are two roundings.
local program, targets, types = require "program", require "targets", require "types"
local functions = require "functions"
local elements = require "network/elements"
local cast = {}

local constant, new = functions.constant, functions.new
local half = 2.0 ^ 32 -- an integer is two halves
local ones, middle = 2.0 ^ 52, 1.5 * 2.0 ^ 52 -- the last bit of numbers from here on is a one's

local function from_integer(k, x)
  local bits = constant(k, "ones", ones)
  local high, low = k:vector "high", k:vector "low"
  k:down(high, x, 32)
  k:bxor(high, high, constant(k, "sign", 2.0 ^ 31 * 2.0 ^ -1074)) -- 2^31 more than the signed half
  k:bor(high, high, bits)
  k:sub(high, high, k:number(ones + 2.0 ^ 31))
  k:shift(low, x, 32)
  k:down(low, low, 32)
  k:bor(low, low, bits)
  k:sub(low, low, bits)
  k:fma(low, high, constant(k, "half", half))
  k:move(x, low)
end

-- x ^ ((x ^ y) & mask): y where the mask has bits.
local function chosen(k, x, y, mask)
  local d = new(k, "d", "bxor", x, y)
  k:band(d, d, mask)
  k:bxor(d, d, x)
  return d
end

-- The integer below a number that is less than 2^51 from zero.
local function floor(k, x)
  local r, more = new(k, "r", "add", x, k:number(middle)), k:vector "more"
  k:sub(r, r, k:number(middle))
  k:greater(more, r, x)
  k:band(more, more, constant(k, "one", 1))
  k:sub(r, r, more)
  return r
end

-- Towards zero; numbers from 2^51 on are cut already, or have a half.
local function cut(k, x)
  local sign = constant(k, "sign", -0.0)
  local size = new(k, "size", "bor", x, sign)
  k:bxor(size, size, sign)
  local small = new(k, "small", "greater", constant(k, "bound", 2.0 ^ 51), size)
  local large = new(k, "large", "add", size, k:number(ones))
  k:sub(large, large, k:number(ones))
  local more = new(k, "more", "greater", large, size)
  k:band(more, more, constant(k, "one", 1))
  k:sub(large, large, more)
  local whole = new(k, "whole", "greater", size, constant(k, "ones", ones))
  local kept = chosen(k, chosen(k, large, size, whole), floor(k, size), small)
  k:band(sign, sign, x)
  k:bor(kept, kept, sign)
  return kept
end

local function to_integer(k, x)
  local t = cut(k, x)
  local high = floor(k, new(k, "share", "mul", t, k:number(1 / half)))
  local low, bits = k:vector "low", constant(k, "ones", ones)
  k:move(low, t)
  k:fnma(low, high, constant(k, "half", half))
  k:add(low, low, bits)
  k:bxor(low, low, bits)
  k:add(high, high, k:number(middle))
  k:shift(high, high, 32)
  k:bor(low, low, high)
  local inside = new(k, "inside", "greater", constant(k, "end", 2.0 ^ 63), t)
  local above = new(k, "above", "greater", t, constant(k, "begin", -2.0 ^ 63))
  k:band(inside, inside, above)
  k:move(x, chosen(k, constant(k, "least", -0.0), low, inside))
end

-- Parts of a stage that copies src into dst, of another type.
function cast.parts(b, views)
  b.p.type, b.target = "f64", targets.scalar
  local convert = views.src.type == "i64" and from_integer or views.dst.type == "i64" and to_integer
  return elements.parts(b, { slots = { "src" }, views = { views.src, views.dst }, steps = {}, convert = convert })
end

-- Once all is called: pointers are to what the views have.
function cast.finish(b, views)
  for _, kernel in ipairs(b.kernels) do
    program.stored(kernel, function(base)
      local type = views[base] and views[base].type
      return types.rows[type] and type or "f64"
    end)
  end
end

return cast
