-- walk.lua: walks along some axes of a tensor in kernel programs, for what is summed, compared or scaled there: a line.
--
-- A line's elements are visited in the order in which src has them in memory. Its vectors are either
--   across   neighbours that belong to as many lines; the four values of a line's positions modulo 4, along the
--            innermost axis, are kept apart
--   along    neighbours of one line; its values are kept apart by their place along the innermost axis modulo 16
-- and these values are put together one after another, first to last. So a sum depends on neither lanes nor threads.
-- Where views have no such neighbours, vectors of one element go across.
local driver, program, types = require "driver", require "program", require "types"
local axes, elements, steps = require "network/axes", require "network/elements", require "network/steps"
local walk = {}
local Walk = {}
Walk.__index = Walk

local apart = { across = 4, along = 16 }

---- what is walked ----------------------------------------------------------------------------------------------------

-- Whether all views have neighbours along an axis, or one element for all.
local function of_neighbours(axis, views)
  if axis.steps[1] ~= 1 then return false end
  for v = 2, views do if axis.steps[v] > 1 then return false end end
  return true
end

local function members(list, summed, want)
  local out = {}
  for _, axis in ipairs(list) do if (summed[axis.place - 1] or false) == want then out[#out + 1] = axis end end
  return axes.merged(axes.ordered(out, 1))
end

-- Strides of each view along src's axes; 0 where it has one element for all.
local function strides_of(views)
  local strides = {}
  for v, view in ipairs(views) do
    strides[v] = {}
    for i, stride in ipairs(view.strides) do strides[v][i] = view.dims[i] == views[1].dims[i] and stride or 0 end
  end
  return strides
end

-- The axis whose neighbours vectors have across, if there is one.
local function across_of(p, o)
  for _, axis in ipairs(p.kept) do
    if o.scattered and axis.steps[1] == 1 or of_neighbours(axis, p.views) and axis.steps[p.views] == 1 then
      return axis
    end
  end
end

-- o: slots; views, of src first and of the result last, which may have dims of 1 where src has others; summed: axes,
-- from 0; vectors: how many may go across at a time; scattered: the caller puts results, whatever their steps are.
local function plan(b, o)
  local summed, views = {}, #o.views
  for _, axis in ipairs(o.summed) do summed[axis] = true end
  local all = axes.of(o.views[1].dims, strides_of(o.views))
  local p = { b = b, slots = o.slots, views = views, lanes = types.lanes(b.p.type, b.target), again = o.again,
    summed = members(all, summed, true), kept = members(all, summed, false) }
  p.summed[1] = p.summed[1] or axes.one(views)
  p.length = axes.elements(p.summed)
  local last = p.summed[#p.summed]
  p.way = of_neighbours(last, views) and last.size > 1 and "along" or "across"
  p.across = p.way == "across" and across_of(p, o)
  if p.way == "across" and not p.across then p.lanes, p.across = 1, p.kept[#p.kept] or axes.one(views) end
  p.scratch = (p.way == "along" or o.scattered) and apart.along * types.bytes(b.p.type) or 0
  return p
end

---- in programs -------------------------------------------------------------------------------------------------------

local function copies(k, pointers)
  local list = {}
  for v, p in ipairs(pointers) do list[v] = k:copy("p" .. v, p) end
  return list
end

local function advance(k, pointers, steps_, times)
  for v, p in ipairs(pointers) do k:advance(p, steps_[v] * times) end
end

-- The vectors of `count` positions from one on that is a multiple of what is kept apart: { v, j: which value; at:
-- position; lane: element of the axis across; count }.
local function spots(w, count)
  local list = {}
  if w.way == "along" then
    for at = 0, count - 1, w.lanes do
      list[#list + 1] = { v = 1, j = at // w.lanes + 1, at = at, lane = 0, count = math.min(w.lanes, count - at) }
    end
    return list
  end
  for at = 0, count - 1 do
    for v = 1, w.vectors do
      list[#list + 1] = { v = v, j = at + 1, at = at, lane = (v - 1) * w.lanes, count = w.counts[v] }
    end
  end
  return list
end

local function visit(w, pointers, axis, count, from, body)
  for _, spot in ipairs(spots(w, count)) do
    spot.pointers, spot.axis, spot.from = pointers, axis, from
    body(spot)
  end
end

-- The innermost axis; overlapping: what remains along may be visited with what comes before it.
local function innermost(w, axis, pointers, body, overlapping)
  local each = apart[w.way]
  local whole, rest = axis.size // each, axis.size % each
  local loops = whole > 1
  if loops then
    w.k:loop(whole, function()
      visit(w, pointers, axis, each, 0, body)
      advance(w.k, pointers, axis.steps, each)
    end)
  elseif whole == 1 then
    visit(w, pointers, axis, each, 0, body)
  end
  if rest == 0 then return end
  local from = loops and 0 or whole * each
  if overlapping and w.way == "along" and whole > 0 then
    visit(w, pointers, axis, each, from + rest - each, body)
  else
    visit(w, pointers, axis, rest, from, body)
  end
end

local function nest(w, level, pointers, body, overlapping)
  local axis = w.summed[level]
  if level == #w.summed then return innermost(w, axis, pointers, body, overlapping) end
  w.k:loop(axis.size, function()
    nest(w, level + 1, copies(w.k, pointers), body, overlapping)
    advance(w.k, pointers, axis.steps, 1)
  end)
end

-- body(spot) for each vector of the line.
function Walk:each(body, overlapping) nest(self, 1, copies(self.k, self.pointers), body, overlapping) end

local function place(w, spot, view)
  local at = (spot.from + spot.at) * spot.axis.steps[view]
  if w.across then at = at + spot.lane * w.across.steps[view] end
  return w.k:at(spot.pointers[view], at)
end

-- A view's vector at a spot, in a register; and put there.
function Walk:load(spot, view, name)
  local r, step = self.k:vector(name), self.across and self.across.steps[view] or spot.axis.steps[view]
  if step == 0 and self.lanes > 1 then self.k:broadcast(r, place(self, spot, view))
  else self.k:load(r, place(self, spot, view), 0, spot.count) end
  return r
end

function Walk:store(spot, r) self.k:store(place(self, spot, self.views), r, 0, spot.count) end

-- Registers of values kept apart, as many as there can be: [v][j].
function Walk:values(name, value)
  local each = self.way == "along" and self.lanes or 1
  local n = math.min(apart[self.way] // each, (self.summed[#self.summed].size + each - 1) // each)
  local list = {}
  for v = 1, self.vectors do
    list[v] = {}
    for j = 1, n do
      list[v][j] = self.k:vector(name, { v - 1, j - 1 })
      if value == 0 then self.k:zero(list[v][j]) else self.k:constant(list[v][j], value) end
    end
  end
  return list
end

-- Along: by way of scratch, so that all lanes have the result.
local function together_along(w, list, combine)
  local k, n = w.k, math.min(apart.along, w.summed[#w.summed].size)
  for j, r in ipairs(list) do k:store(k:at(w.scratch, (j - 1) * w.lanes), r) end
  local total = k:vector "total"
  k:broadcast(total, k:at(w.scratch, 0))
  for i = 1, n - 1 do
    local next_ = k:vector "next"
    k:broadcast(next_, k:at(w.scratch, i))
    combine(k, total, next_)
  end
  return total
end

-- Values that are kept apart put together by combine(k, total, next): [v].
function Walk:together(values, combine)
  local totals = {}
  for v, list in ipairs(values) do
    if self.way == "along" then totals[v] = together_along(self, list, combine) else
      for j = 2, #list do combine(self.k, list[1], list[j]) end
      totals[v] = list[1]
    end
  end
  return totals
end

function walk.add(k, total, next_) k:add(total, total, next_) end
function walk.max(k, total, next_) steps.binary.max.write(k, total, total, next_) end

-- The maximum of each line.
function walk.maxima(k, w)
  local most = w:values("most", -math.huge)
  w:each(function(spot) walk.max(k, most[spot.v][spot.j], w:load(spot, 1, "x")) end, true)
  return w:together(most, walk.max)
end

-- One element of each line.
function Walk:put(totals)
  for v, total in ipairs(totals) do
    local lane = self.across and (v - 1) * self.lanes * self.across.steps[self.views] or 0
    self.k:store(self.k:at(self.pointers[self.views], lane), total, 0, self.way == "along" and 1 or self.counts[v])
  end
end

---- kernels and stages ------------------------------------------------------------------------------------------------

-- A program for vectors across of these counts of lanes, or for lines along.
local function kernel(p, named, counts, lines, write)
  local k = program.new(named)
  k.activates = true
  local w = setmetatable({ k = k, pointers = {}, counts = counts, vectors = counts and #counts or 1 },
    { __index = function(_, key) return Walk[key] or p[key] end })
  for v = 1, p.views do
    local slot = p.slots[v]
    w.pointers[v] = k:pointer(slot or "dst", slot and "in" or p.again and "inout" or "out")
  end
  if p.scratch > 0 then w.scratch = k:pointer("scratch", "inout") end
  if not lines then
    write(k, w)
    return k:finish()
  end
  k:loop(k:count "lines", function()
    write(k, w)
    for v, pointer in ipairs(w.pointers) do k:advance(pointer, lines.steps[v]) end
  end)
  return k:finish()
end

local function counts_of(p, size)
  local counts = {}
  for at = 0, size - 1, p.lanes do counts[#counts + 1] = math.min(p.lanes, size - at) end
  return counts
end

local function arguments(d, p, list, indices, more)
  local args = {}
  for v = 1, p.views do
    args[v] = { d[p.slots[v] or "dst"], axes.offset(list, indices, v) + (more and more[v] or 0) }
  end
  return args
end

local function part_across(p, piece, write)
  local call = p.b:new("across", function(named) return kernel(p, named, counts_of(p, piece.size), nil, write) end)
  local list = axes.without(p.kept, p.across)
  list[#list + 1] = piece
  return { indices = axes.indices(list), body = function(d, ...)
    local args = arguments(d, p, list, { ... })
    if p.scratch > 0 then args[#args + 1] = { d.scratch, 0 } end
    d:call(call, args)
  end }
end

local function part_along(p, write)
  local lines = p.kept[#p.kept] or axes.one(p.views)
  local call = p.b:new("along", function(named) return kernel(p, named, nil, lines, write) end)
  local list, indices = axes.without(p.kept, lines), nil
  local some = math.max(1, math.min(lines.size, elements.block(p.b, { lines, { size = p.length } }) // p.length))
  indices = axes.indices(list)
  indices[#indices + 1] = { "chunk", (lines.size + some - 1) // some }
  return { indices = indices, body = function(d, ...)
    local at, more = { ... }, {}
    local line = d:let("line", at[#at] * some)
    for v = 1, p.views do more[v] = line * lines.steps[v] end
    local args = arguments(d, p, list, at, more)
    args[#args + 1] = { d.scratch, 0 }
    args[#args + 1] = driver.min(driver.expr(lines.size) - line, some)
    d:call(call, args)
  end }
end

-- The stage of an operation along axes, of which write(k, walk) is the program for some lines. again: it reads what it
-- wrote.
function walk.stage(b, o, write)
  local p = plan(b, o)
  local parts = {}
  if p.way == "along" then parts[1] = part_along(p, write) else
    for i, piece in ipairs(axes.pieces(p.across, p.lanes * o.vectors)) do parts[i] = part_across(p, piece, write) end
  end
  return driver.stage { name = "compute", parts = parts, scratch = p.scratch }
end

return walk
