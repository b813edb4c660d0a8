-- relayout.lua: kernels that turn pixels of channels into one row a channel, and back, by transposes of 128-bit parts.
--
-- A view says where: {channels, pixels, pitch = elements between pixels, limit = elements there are from the first pixel's first
-- channel on, row = elements between the rows of two channels}. Nothing outside the limit is read or written on the pixels' side;
-- rows are read within their pixels, and written in whole vectors where `relayout.to_rows` makes them. every = n: of a row's pixels
-- only each n-th is laid out, n divides a vector (to_pixels, loose).
local program = require "program"
local parts = require "parts"
local relayout = {}

-- First channels of the groups that are moved at once; the last one overlaps the one before.
local function channel_groups(channels, part)
  local list = {}
  for c = 0, channels - 1, part do list[#list + 1] = math.max(math.min(c, channels - part), 0) end
  return list
end

-- How many whole vectors of pixels can be moved `part` channels at a time, from channel c on.
local function whole_vectors(view, c, lanes, part)
  local n = view.pixels // lanes
  while n > 0 and (n * lanes - 1) // (view.every or 1) * view.pitch + c + part > view.limit do n = n - 1 end
  return n
end

local function registers_for(k)
  local r = {}
  for i = 1, k.part do r[i] = k:vector("r" .. i) end
  return r
end

-- Calls body(first pixel, pixels, pixels that may be moved `part` channels at a time) for what whole vectors leave over.
local function rest(view, c, from, lanes, part, body)
  for first = from * lanes, view.pixels - 1, lanes do
    local count = math.min(lanes, view.pixels - first)
    local safe = 0
    while safe < count and (first + safe) // (view.every or 1) * view.pitch + c + part <= view.limit do safe = safe + 1 end
    body(first, count, safe)
  end
end

-- Elements one by one: pixels [first, last), all channels of a group that exist.
local function single(view, c, part, first, last, move)
  for pixel = first, last - 1 do
    for i = c, math.min(c + part, view.channels) - 1 do
      local at = pixel * view.pitch + i
      if at < view.limit then move(at, i * view.row + pixel) end
    end
  end
end

-- Pixels to rows. Rows are written in whole vectors: row >= pixels rounded up to a vector (exact: as many elements as pixels).
-- repeats: {from, to}, the elements between one such block and the next, as many as the count says. finish = a problem: its residual,
-- which has rows as well, and its activation come before the store (every element moves `part` channels at a time: none is beyond
-- the limit).
function relayout.to_rows(view, o)
  local k = program.new(o)
  k.about = "Lays pixels out as rows, one for each channel, so that neighbouring pixels stand in the lanes."
  local from, residual, to = k:pointer("from", "in"), view.finish and k:pointer("residual", "in"), k:pointer("to", "out")
  local times = view.repeats and k:count("times")
  local lanes, part, r, temp = k.lanes, k.part, registers_for(k), view.finish and k:vector "temp"

  local function move(a, b, c, pixels, with)
    for i = 1, part do
      local loaded = false
      for n = 0, lanes // part - 1 do
        local pixel = n * part + i - 1
        local at = k:at(a, pixel * view.pitch + c)
        if pixel < pixels then
          if n == 0 then k:load(r[i], at, 0, part) else k:insert(r[i], n, at) end
          loaded = true
        end
      end
      if not loaded then k:zero(r[i]) end
    end
    k:transpose { table.unpack(r) }
    for i = 1, math.min(part, view.channels) do
      local at, count = (c + i - 1) * view.row, view.exact and pixels
      if with then parts.epilogue(k, view.finish, r[i], temp, nil, k:at(with, at), 0, count) end
      k:store(k:at(b, at), r[i], 0, count)
    end
  end

  local function group(c)
    local n = whole_vectors(view, c, lanes, part)
    if n > 0 then
      local a, b, with = k:copy("a", from), k:copy("b", to), residual and k:copy("with", residual)
      k:loop(n, function()
        move(a, b, c, lanes, with)
        k:advance(a, lanes * view.pitch)
        k:advance(b, lanes)
        if with then k:advance(with, lanes) end
      end)
    end
    rest(view, c, n, lanes, part, function(first, count, safe)
      if safe > 0 then
        local a, b, with = k:copy("a", from), k:copy("b", to), residual and k:copy("with", residual)
        k:advance(a, first * view.pitch)
        k:advance(b, first)
        if with then k:advance(with, first) end
        move(a, b, c, safe, with)
      end
      single(view, c, part, first + safe, first + count, function(pixel, row)
        k:load(r[1], k:at(from, pixel), 0, 1)
        k:store(k:at(to, row), r[1], 0, 1)
      end)
    end)
  end
  local function block()
    for _, c in ipairs(channel_groups(view.channels, part)) do group(c) end
  end
  if not times then
    block()
  else
    k:loop(times, function()
      block()
      k:advance(from, view.repeats.from)
      k:advance(to, view.repeats.to)
    end)
  end
  return k:finish()
end

-- Rows to pixels. With fewer channels than a part, a pixel is written with what comes after it, which the next pixel puts right;
-- where pixels have others' elements between them, that may not be, and elements go one by one. (loose: nobody minds.)
function relayout.to_pixels(view, o)
  local k = program.new(o)
  k.about = "Puts rows of channels back as pixels."
  local from, to = k:pointer("from", "in"), k:pointer("to", "out")
  local lanes, part, r = k.lanes, k.part, registers_for(k)
  local apart = view.channels < part and view.pitch ~= view.channels and not view.loose
  local every = view.every or 1

  local function move(a, b, c, pixels, loaded)
    for i = 1, part do
      if c + i <= view.channels then k:load(r[i], k:at(a, (c + i - 1) * view.row), 0, loaded) else k:zero(r[i]) end
    end
    k:transpose { table.unpack(r) }
    for pixel = 0, pixels - 1, every do k:extract(k:at(b, pixel // every * view.pitch + c), r[pixel % part + 1], pixel // part) end
  end
  local function one(a, b, pixel, row)
    k:load(r[1], k:at(a, row), 0, 1)
    k:store(k:at(b, pixel), r[1], 0, 1)
  end

  if apart then
    local whole = (view.limit - view.channels) // view.pitch + 1 -- pixels with all of their channels
    k:loop(whole, function()
      for c = 0, view.channels - 1 do one(from, to, c, c * view.row) end
      k:advance(from, 1)
      k:advance(to, view.pitch)
    end)
    local rest_view = setmetatable({ limit = view.limit - whole * view.pitch }, { __index = view })
    single(rest_view, 0, part, 0, view.pixels - whole, function(pixel, row) one(from, to, pixel, row) end)
    return k:finish()
  end
  for _, c in ipairs(channel_groups(view.channels, part)) do
    local n = whole_vectors(view, c, lanes, part)
    if n > 0 then
      local a, b = k:copy("a", from), k:copy("b", to)
      k:loop(n, function()
        move(a, b, c, lanes, lanes)
        k:advance(a, lanes)
        k:advance(b, lanes // every * view.pitch)
      end)
    end
    rest(view, c, n, lanes, part, function(first, count, safe)
      if safe > 0 then
        local a, b = k:copy("a", from), k:copy("b", to)
        k:advance(a, first)
        k:advance(b, first // every * view.pitch)
        move(a, b, c, safe, count)
      end
      single(view, c, part, first + safe, first + count, function(pixel, row) one(from, to, pixel, row) end)
    end)
  end
  return k:finish()
end

-- Weights of channels-first data as panels, [tap][channel that goes in][width]: the kernel for the panel of `channels` that come out,
-- how often it runs, what it steps over between runs, and first(g, c): where the weights of a group's channels from c on begin.
-- loose: `width` elements may be written where there are fewer channels.
function relayout.weights(p, channels, width, loose, o)
  local icg, ocg, taps = p.ic // p.groups, p.oc // p.groups, p.kernel[1] * p.kernel[2] * p.kernel[3]
  local forward = p.pass == "forward"
  local from = forward and icg or ocg
  local view = { channels = channels, pixels = taps, pitch = from * width, row = forward and icg * taps or taps, loose = loose }
  local how = { count = from, from = forward and taps or icg * taps, to = width }
  if forward and taps == 1 then -- channels that go in are neighbours
    view.pixels, view.pitch, how.count = icg, width, 1
  end
  view.limit = (view.pixels - 1) * view.pitch + (loose and width or channels)
  how.kernel = relayout.to_pixels(view, o)
  function how.first(g, c)
    return forward and (g * ocg + c) * (icg * taps) or g * (ocg * icg * taps) + c * taps
  end
  return how
end

return relayout
