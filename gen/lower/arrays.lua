-- arrays.lua: the registers of a finished program as elements of arrays.
--
-- arrays.find(k) answers with the array of each register and slot, by what it is: { array, indices }. An array has name
-- and axes, what its indices are called, where its program says so. Registers of one name that nothing but a number
-- tells apart are one, where one begins when the other has ended, or else elements in order.
local registers = require "registers"
local arrays = {}

-- What lives when, in the order of beginnings.
local function spans_of(k)
  local spans = {}
  for _, list in ipairs { k.vectors, k.slots } do
    for _, v in ipairs(list) do
      local life = k.used[v]
      if life then spans[#spans + 1] = { thing = v, first = life.first, last = life.last } end
    end
  end
  table.sort(spans, function(a, b)
    if a.first ~= b.first then return a.first < b.first end
    return a.thing.name < b.thing.name
  end)
  registers.extend_over_loops(spans, k.loop_lifetimes)
  return spans
end

local function array_of(all, hint, axes)
  local key = ("%s %d"):format(hint, #axes)
  all[key] = all[key] or { key = key, name = hint, axes = axes, ends = {} }
  return all[key]
end

-- The lowest number in an array that is free.
local function numbered(array, span)
  local n = 0
  while (array.ends[n] or -1) >= span.first do n = n + 1 end
  array.ends[n] = span.last
  return { n }
end

-- The element that the program says, unless its value still lives: then the register is an array alone.
local function named(all, span)
  local v = span.thing
  local array, key = array_of(all, v.hint, v.axes or v.indices), table.concat(v.indices, " ")
  if (array.ends[key] or -1) >= span.first then return { array = array_of(all, v.name, { "n" }), indices = { 0 } } end
  array.ends[key] = span.last
  return { array = array, indices = v.indices }
end

function arrays.find(k)
  local all, found = {}, {}
  for _, span in ipairs(spans_of(k)) do
    local v = span.thing
    if v.indices and #v.indices > 0 then found[v] = named(all, span) else
      local array = array_of(all, v.hint, { "n" })
      array.numbered = true
      found[v] = { array = array, indices = numbered(array, span) }
    end
  end
  return found
end

return arrays
