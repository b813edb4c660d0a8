-- depthwise_moves.lua: a few channels of an image, or of weights, laid out as [pixel][member][lane], and results put
-- back, whatever the layout outside: where channels stand together they are copied or spread to their members, where
-- they stand apart they are turned.
--
-- What moves is {pixels, channels (of a member), members, pixel, channel: elements between two outside, pitch, row:
-- between two pixels and members inside}. Member i of channel c is outside as channel c * members + i. Taps of weights
-- are their pixels.
local parts = require "parts"
local relayout = require "relayout"
local moves = {}

-- Elements between the pixels of so many vectors of channels, or members of one: with a channel multiplier, of the
-- input channels that they need.
function moves.pitch(s, count)
  local width = s.lanes * count
  if s.multiplier == 1 then return width end
  return parts.round_up((s.multiplier + width - 2) // s.multiplier + 1, s.part)
end

local function together(b, name, o)
  if o.members > 1 then
    local kernel = b:kernel(name, name, function(k)
      k.name = name
      return relayout.to_rows({ channels = o.members, pixels = o.channels, pitch = o.members,
        limit = o.channels * o.members, row = o.row, repeats = { o.pixel, o.pitch } }, k)
    end)
    return function(d, from, to) d:call(kernel, { from, to, o.pixels }) end
  end
  local kernel = b:kernel(name, name, function(k)
    k.name = name
    return relayout.copy({ about = "Lays out a vector's channels, pixel by pixel.", elements = o.channels,
      loops = { { count = o.pixels, steps = { o.pixel, o.pitch } } } }, k)
  end)
  return function(d, from, to) d:call(kernel, { from, to }) end
end

-- The view of channels that stand apart: `pixels` rows are read within.
local function apart(b, o)
  return { channels = o.channels, pixels = o.pixels, pitch = o.pitch, row = o.channel * o.members, loose = true,
    exact = true, limit = (o.pixels - 1) * o.pitch + parts.round_up(o.channels, b.part) }
end

-- A function that lays something out: (d, from, to), each as {base, offset}.
function moves.into(b, name, o)
  if o.channel == 1 then return together(b, name, o) end
  local kernel = b:kernel(name, name, function(k)
    k.name = name
    return relayout.to_pixels(apart(b, o), k)
  end)
  return function(d, from, to)
    for i = 0, o.members - 1 do
      d:call(kernel, { { from[1], from[2] + i * o.channel }, { to[1], to[2] + i * o.row } })
    end
  end
end

-- The same for what is put back; there is one member.
function moves.out(b, name, o)
  local kernel = b:kernel(name, name, function(k)
    k.name = name
    if o.channel > 1 then return relayout.to_rows(apart(b, o), k) end
    return relayout.copy({ about = "Puts a vector's channels back, pixel by pixel.", elements = o.channels,
      loops = { { count = o.pixels, steps = { o.pitch, o.pixel } } } }, k)
  end)
  return function(d, from, to) d:call(kernel, { from, to }) end
end

return moves
