-- relayout.lua: one view copied into another: kernels that copy rows of neighbours, and that turn pixels of channels
-- into one row a channel, and back, by transposes of 128-bit parts.
--
-- What moves is a table, `view`; names of a kernel's pointers (from, to), of its register and a sentence about it
-- (about) may stand in it as well. o: what the program is: {name, type, target}. Nothing here knows which tensor is
-- moved, or what for.
local program = require "program"
local parts = require "parts"
local relayout = {}

local function begin(view, o, about)
  local k = program.new(o)
  k.about = view.about or about
  local from = k:pointer(view.from or "from", "in")
  local residual = view.finish and k:pointer("residual", "in")
  local slope = view.finish and parts.slopes(view.finish) and k:pointer("slope", "in")
  return k, from, k:pointer(view.to or "to", "out"), residual, slope
end

---- copies ------------------------------------------------------------------------------------------------------------

-- What is there of {from, residual, slope, to}, and what copies of these pointers are called.
local function copied(from, residual, slope, to)
  if not residual then return { from, to }, { "x", "y" } end
  if not slope then return { from, residual, to }, { "x", "z", "y" } end
  return { from, residual, slope, to }, { "x", "z", "s", "y" }
end

-- A function that moves `count` elements, `at` elements from where pointers stand (copied).
local function mover(k, view)
  local r, temp = k:vector(view.register or "r"), view.finish and k:vector "temp"
  return function(pointers, at, count)
    k:load(r, k:at(pointers[1], at), 0, count)
    local with = temp and { residual = k:at(pointers[2], at), first = 0, count = count, slope_of_all = view.one_slope }
    if pointers[4] then with.slope = k:at(pointers[3], view.one_slope and 0 or at) end
    if temp then parts.epilogue(k, view.finish, r, temp, with) end
    k:store(k:at(pointers[#pointers], at), r, 0, not view.whole and count or nil)
  end
end

-- Neighbours by vectors in a loop. one_slope: of all of them.
local function many_neighbours(k, elements, pointers, move, one_slope)
  local steps = { k.lanes, k.lanes, k.lanes, k.lanes }
  if one_slope and pointers[4] then steps[3] = 0 end
  k:nest(pointers, { { count = elements // k.lanes, steps = steps } }, function() move(pointers, 0, k.lanes) end)
  if elements % k.lanes > 0 then move(pointers, 0, elements % k.lanes) end
end

-- Copies of `elements` neighbours. loops: those around, as Program:nest has them, over the pointers {from, to} (or
-- {from, residual, to}, with slopes {from, residual, slope, to}). whole: the last vector is written whole, zeros behind
-- the elements. many: neighbours in a loop. finish = a problem: the residual, which stands as the copy does, and the
-- activation of it come before the store, slopes for the neighbours (one_slope: one for all).
function relayout.copy(view, o)
  local k, from, to, residual, slope = begin(view, o)
  local move, sides, names = mover(k, view), copied(from, residual, slope, to)
  k:nest(sides, view.loops or {}, function(...)
    local pointers = { ... }
    if view.many then
      for i, p in ipairs(view.loops and pointers or {}) do pointers[i] = k:copy(names[i], p) end
      return many_neighbours(k, view.elements, pointers, move, view.one_slope)
    end
    for at = 0, view.elements - 1, k.lanes do move(pointers, at, math.min(k.lanes, view.elements - at)) end
  end)
  return k:finish()
end

---- turning: pixels of channels and rows of pixels --------------------------------------------------------------------
--
-- A view is {channels, pixels, pitch = elements between pixels, limit = elements there are from the first pixel's first
-- channel on, row = elements between the rows of two channels}. Nothing outside the limit is read or written on the
-- pixels' side; rows are read within their pixels, and written in whole vectors where to_rows makes them. every = n: of
-- a row's pixels only each n-th is laid out, n divides a vector (to_pixels, loose).

local function registers_for(k)
  local r = {}
  for i = 1, k.part do r[i] = k:vector("r", { i }) end
  return r
end

-- Where a pixel is on the pixels' side.
local function place(view, pixel) return pixel // (view.every or 1) * view.pitch end

-- How many of `count` pixels from `first` on can be moved a part's channels at a time, from channel c on.
local function safe_pixels(k, view, c, first, count)
  local n = count
  while n > 0 and place(view, first + n - 1) + c + k.part > view.limit do n = n - 1 end
  return n
end

-- How many whole vectors of pixels can be.
local function whole_vectors(k, view, c)
  local n = view.pixels // k.lanes
  local room = (view.limit - c - k.part) // view.pitch -- of the last pixel's place
  if room < 0 then return 0 end
  return math.min(n, ((room + 1) * (view.every or 1)) // k.lanes)
end

local function move_one(k, r, from, to)
  k:load(r, from, 0, 1)
  k:store(to, r, 0, 1)
end

-- Elements one by one: pixels [first, last), all channels from c on of a part that exist.
local function single(k, view, c, first, last, move)
  for pixel = first, last - 1 do
    for i = c, math.min(c + k.part, view.channels) - 1 do
      local at = pixel * view.pitch + i
      if at < view.limit then move(at, i * view.row + pixel) end
    end
  end
end

-- All pixels of all channels, a part's channels at once, the last of which overlap those before. sides: {name, pointer,
-- on_pixels}. move(pointers, c, pixels that may be moved so, pixels, channels of these that have been moved) moves a
-- vector of pixels, one(pixel's place, row's) what it may not.
local function turn(k, view, sides, move, one)
  local function copies(first)
    local list = {}
    for i, side in ipairs(sides) do list[i] = k:copy(side[1], side[2]) end
    return list
  end
  local function advance(pointers, pixels)
    for i, side in ipairs(sides) do k:advance(pointers[i], side[3] and place(view, pixels) or pixels) end
  end
  for group = 0, view.channels - 1, k.part do
    local c = math.max(math.min(group, view.channels - k.part), 0)
    local whole = whole_vectors(k, view, c)
    if whole > 0 then
      local pointers = copies()
      k:loop(whole, function()
        move(pointers, c, k.lanes, k.lanes, group - c)
        advance(pointers, k.lanes)
      end)
    end
    for first = whole * k.lanes, view.pixels - 1, k.lanes do
      local count = math.min(k.lanes, view.pixels - first)
      local safe = safe_pixels(k, view, c, first, count)
      if safe > 0 then
        local pointers = copies()
        advance(pointers, first)
        move(pointers, c, safe, count, group - c)
      end
      single(k, view, c, first + safe, first + count, one)
    end
  end
end

-- Turns `pixels` pixels, `skip` elements from `from` on, into a register for each channel of a part.
local function load_turned(k, view, r, from, skip, pixels)
  for i = 1, k.part do
    local loaded = view.cleared
    if loaded then k:zero(r[i]) end
    for n = 0, (pixels - i) // k.part do
      local at = k:at(from, skip + (n * k.part + i - 1) * view.pitch)
      if loaded then k:insert(r[i], n, at) else k:load(r[i], at, 0, k.part) end
      loaded = true
    end
    if not loaded then k:zero(r[i]) end
  end
  k:transpose(r)
end

-- Pixels to rows. Rows are written in whole vectors: row >= pixels rounded up to a vector (exact: as many elements as
-- pixels). repeats: {of from, of to}, the elements between one such block and the next, as many as the count says.
-- finish = a problem: its residual, which has rows as well, and its activation, with slopes for the channels, come
-- before the store (every element moves a part's channels at a time: none is beyond the limit); once: none is stored
-- twice, as where the rows are their own residual.
function relayout.to_rows(view, o)
  local k, from, to, residual, slope = begin(view, o,
    "Lays pixels out as rows, one for each channel, so that neighbouring pixels stand in the lanes.")
  local times = view.repeats and k:count "times"
  local r, temp = registers_for(k), residual and k:vector "temp"
  local sides = { { "a", from, true }, { "b", to }, residual and { "with", residual } or nil }
  local function move(at, c, pixels, _, moved)
    load_turned(k, view, r, at[1], c, pixels)
    for i = view.once and moved + 1 or 1, math.min(k.part, view.channels) do
      local row, count = (c + i - 1) * view.row, view.exact and pixels
      local with = temp and { residual = k:at(at[3], row), first = 0, count = count, slope_of_all = true }
      if slope then with.slope = k:at(slope, c + i - 1) end
      if temp then parts.epilogue(k, view.finish, r[i], temp, with) end
      k:store(k:at(at[2], row), r[i], 0, count)
    end
  end
  local function one(pixel, row) move_one(k, r[1], k:at(from, pixel), k:at(to, row)) end
  k:nest({ from, to }, times and { { count = times, steps = view.repeats } } or {}, function()
    turn(k, view, sides, move, one)
  end)
  return k:finish()
end

-- The same of many channels, in a loop, and few pixels, all written out. Rows are written in whole vectors, zeros
-- behind the pixels (exact: the pixels alone).
function relayout.to_many_rows(view, o)
  local k, from, to = begin(view, o)
  local r, whole = registers_for(k), view.channels // k.part
  local function squares(a, b)
    for first = 0, view.pixels - 1, k.lanes do
      local count = math.min(k.lanes, view.pixels - first)
      load_turned(k, view, r, a, first * view.pitch, count)
      for i = 1, k.part do k:store(k:at(b, (i - 1) * view.row + first), r[i], 0, view.exact and count or nil) end
    end
  end
  for c = 0, whole == 0 and view.channels - 1 or -1 do -- fewer than a part: one by one
    if not view.exact then k:zero(r[1]) end
    for first = 0, view.exact and -1 or view.pixels - 1, k.lanes do k:store(k:at(to, c * view.row + first), r[1]) end
    for i = 0, view.pixels - 1 do move_one(k, r[1], k:at(from, i * view.pitch + c), k:at(to, c * view.row + i)) end
  end
  if whole > 0 then
    local a, b = k:copy("a", from), k:copy("b", to)
    k:nest({ a, b }, { { count = whole, steps = { k.part, k.part * view.row } } }, squares)
    local again = view.channels - k.part -- the last part's channels overlap the ones before
    if view.channels % k.part > 0 then
      k:advance(from, again)
      k:advance(to, again * view.row)
      squares(from, to)
    end
  end
  return k:finish()
end

-- Where a pixel of few channels has others' elements behind it: pixel by pixel.
local function pixels_apart(k, view, from, to, one)
  local whole = (view.limit - view.channels) // view.pitch + 1 -- pixels with all of their channels
  k:nest({ from, to }, { { count = whole, steps = { 1, view.pitch } } }, function()
    for c = 0, view.channels - 1 do one(c, c * view.row) end
  end)
  local rest = setmetatable({ limit = view.limit - whole * view.pitch }, { __index = view })
  single(k, rest, 0, 0, view.pixels - whole, one)
end

-- Rows to pixels. With fewer channels than a part, a pixel is written with what comes after it, which the next pixel
-- puts right; where pixels have others' elements between them, that may not be, and elements go one by one. (loose:
-- nobody minds.)
function relayout.to_pixels(view, o)
  local k, from, to = begin(view, o, "Puts rows of channels back as pixels.")
  local r, every = registers_for(k), view.every or 1
  local function one(pixel, row) move_one(k, r[1], k:at(from, row), k:at(to, pixel)) end
  local function move(at, c, pixels, loaded)
    for i = 1, k.part do
      if c + i <= view.channels then k:load(r[i], k:at(at[1], (c + i - 1) * view.row), 0, loaded) else k:zero(r[i]) end
    end
    k:transpose(r)
    for pixel = 0, pixels - 1, every do
      k:extract(k:at(at[2], place(view, pixel) + c), r[pixel % k.part + 1], pixel // k.part)
    end
  end
  if view.channels < k.part and view.pitch ~= view.channels and not view.loose then
    pixels_apart(k, view, from, to, one)
  else
    turn(k, view, { { "a", from }, { "b", to, true } }, move, one)
  end
  return k:finish()
end

-- How a row of an image and its rows in scratch, `rows` of `pitch` elements for each channel, are turned into each
-- other: {view, count: so many channels, a call each; outside, inside: where}. lines {start, outputs, stride} are what
-- the rows hold. A view is a line's where channels stand beside each other, else a channel's.
function relayout.row_moves(tensor, lines, rows, pitch)
  if tensor.neighbours then
    return { { count = tensor.all, outside = 0, inside = 0, view = { channels = #lines, pixels = lines[1].outputs,
      pitch = lines[1].stride, limit = tensor.size[3], row = pitch } } }
  end
  local list = {}
  for i, line in ipairs(lines) do
    local apart = line.stride * tensor.w
    list[i] = { count = 1, outside = line.start * tensor.w, inside = (i - 1) * pitch, view = { channels = tensor.all,
      pixels = line.outputs, pitch = apart, limit = (line.outputs - 1) * apart + tensor.all, row = rows * pitch } }
  end
  return list
end

---- panels of weights -------------------------------------------------------------------------------------------------

-- Rows of a group's output channels, pitch apart, as those of a column tile; the lanes behind its channels become zero.
function relayout.panel(tile, pitch, o)
  return relayout.copy({
    about = "Copies the columns of weights that one tile uses into a panel, which it then reads from front to back.",
    from = "weights", to = "panel", elements = tile.channels, whole = true,
    loops = { { count = "rows", steps = { pitch, tile.width } } } }, o)
end

-- Backward data: [input channel][output channel] of one tap becomes [output channel][input channel in lanes].
-- exact: there is more in the lanes.
function relayout.turned_panel(tile, p, o, exact)
  return relayout.to_many_rows({ from = "weights", to = "panel",
    about = "Turns the weights of one tap into a panel: output channels one after another, input channels in the "
      .. "lanes.",
    channels = p.oc // p.groups, pixels = tile.channels, pitch = p.oc, row = tile.width, exact = exact,
    cleared = true }, o)
end

-- How the panel of a piece of channels, [tap][channel that goes in][width], is made of a problem's weights: make(o),
-- the kernel, how often it runs, where run i reads the weights of a group's channels from c on, and elements of the
-- panel from run to run. panel: {channels, width, loose (width elements may be written where there are fewer channels),
-- together (channels-first: the taps of a channel that goes in stand together), and straight(o), turned(o): the kernels
-- of channels-last data, forward and backward}.
function relayout.packing(p, panel)
  local icg, ocg, taps = p.ic // p.groups, p.oc // p.groups, p.kernel[1] * p.kernel[2] * p.kernel[3]
  local forward, width, together = p.pass == "forward", panel.width, panel.together
  if p.layout == "nhwc" and forward then
    return { make = panel.straight, count = 1, from = function(g, c) return g * ocg + c end, to = 0 }
  elseif p.layout == "nhwc" then
    return { make = panel.turned, count = taps, to = ocg * width,
      from = function(g, c, tap) return tap * (icg * p.oc) + c * p.oc + g * ocg end }
  end
  local how = { count = forward and icg or ocg, to = together and taps * width or width }
  local view = { channels = panel.channels, pixels = taps, pitch = together and width or how.count * width,
    loose = panel.loose, row = forward and icg * taps or taps }
  if forward and (taps == 1 or together) then -- they are neighbours
    view.pixels, view.pitch, how.count = icg * taps, width, 1
  end
  view.limit = (view.pixels - 1) * view.pitch + (panel.loose and width or panel.channels)
  function how.make(o) return relayout.to_pixels(view, o) end
  function how.from(g, c, i)
    if forward then return (g * ocg + c) * (icg * taps) + i * taps end
    return g * (ocg * icg * taps) + c * taps + i * (icg * taps)
  end
  return how
end

return relayout
