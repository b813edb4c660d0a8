-- How a stage's tasks are shared: each task runs once whatever the number of threads, and shares differ by little.
local suite = require "suite"
local driver, build = require "driver", require "build"

local function c_type() return "float" end
local function as_it_is(name) return name end

-- The loops of a stage's text as functions of first and last: {from, to} each.
local function loops_of(stage)
  local list = {}
  for from, to in driver.print(stage, c_type, as_it_is):gmatch "for %(long task = ([^,]+), stop = ([^;]+);" do
    local function number(text) return load("local first, last = ... return " .. text:gsub("/", "//"):gsub("cg_", "math.")) end
    list[#list + 1] = { number(from), number(to) }
  end
  return list
end

local function stage_of(counts, in_order)
  local parts = {}
  for i, count in ipairs(counts) do parts[i] = { indices = { { "n", count } }, body = function() end } end
  return driver.stage { name = "test", parts = parts, in_order = in_order }
end

-- As runtime/machine/parallel.c shares.
local function share(tasks, part, parts) return tasks // parts * part + math.min(part, tasks % parts) end

-- Most and fewest tasks of a thread.
local function shared(counts, threads)
  local stage = stage_of(counts)
  local loops, most, fewest = loops_of(stage), 0, math.huge
  local at = {}
  for i = 1, #counts do at[i] = 0 end
  for t = 0, threads - 1 do
    local first, last, own = share(stage.tasks, t, threads), share(stage.tasks, t + 1, threads), 0
    for i, loop in ipairs(loops) do
      local from, to = loop[1](first, last), loop[2](first, last)
      suite.equal(from, at[i])
      assert(to >= from)
      at[i], own = to, own + to - from
    end
    most, fewest = math.max(most, own), math.min(fewest, own)
  end
  for i, count in ipairs(counts) do suite.equal(at[i], count) end
  return most, fewest
end

suite.case("each task runs once", function()
  for _, counts in ipairs { { 1, 12, 1 }, { 1, 5, 1 }, { 3, 1, 1, 7, 1 }, { 1, 1, 1, 1 }, { 1000000, 1, 31 }, { 1, 1 << 31 }, { 3, 1 << 32 } } do
    for threads = 1, 17 do shared(counts, threads) end
  end
end)

suite.case("two threads get as many tasks as each other, or one more", function()
  for _, counts in ipairs { { 1, 12, 1 }, { 1, 5, 1 }, { 1, 1, 1, 1 }, { 1, 3, 1, 3, 9, 3, 1, 3, 1 }, { 2, 5, 4, 7 } } do
    local most, fewest = shared(counts, 2)
    assert(most - fewest <= 1, table.concat(counts, " ") .. ": " .. most .. " and " .. fewest)
  end
end)

suite.case("bodies run when their stage is made, and kernels are made once, as they are asked for", function()
  local b, log = build.new({ type = "f32" }, { lanes = 1 }, { more = 1 }), {}
  local function kernel(key, what)
    return b:kernel(key, what, function(o)
      log[#log + 1] = ("%s %s %d"):format(o.name, o.type, o.target.lanes)
      if what == "never" then return nil, "no " .. key end
      return { name = o.name, args = {} }
    end)
  end
  local function body(d)
    for _, key in ipairs { "a", "b", "a" } do d:call(kernel(key, "tile"), {}) end
    d:call(kernel("c", "never"), {})
    d:call(kernel("d", "never"), {})
    d:call(kernel("e", "pack"), {})
  end
  local stage = driver.stage { name = "test", parts = { { indices = { { "n", 2 } }, body = body } } }
  suite.equal(table.concat(log, ", "), "tile0 f32 1, tile1 f32 1, never2 f32 1, never2 f32 1, pack2 f32 1")
  suite.equal(#b.kernels, 3)
  suite.equal(b.why, "no c")
  suite.equal(b.more, 1)
  suite.equal(driver.print(stage, c_type, as_it_is):match "{\n        (.-)\n    }", "tile0();\n        tile1();\n        tile0();\n        pack2();")
end)

suite.case("a kernel is called with its arguments in order or by name", function()
  local kernel = { name = "k", args = { { name = "src", kind = "pointer" }, { name = "rows", kind = "count" } } }
  local function text(args)
    local function body(d) d:call(kernel, args(d)) end
    local stage = driver.stage { name = "test", parts = { { indices = { { "n", 2 } }, body = body } } }
    return driver.print(stage, c_type, as_it_is):match "(k%b()); *\n"
  end
  suite.equal(text(function(d) return { { d.src, 8 }, 3 } end), "k(src + 8, 3)")
  suite.equal(text(function(d) return { rows = 3, src = { d.src }, bias = { d.bias } } end), "k(src, 3)")
  suite.refuses("kernel k takes 2 arguments, got 1", function() text(function(d) return { { d.src } } end) end)
  suite.refuses("kernel k: argument 2 (rows) must be a count", function() text(function(d) return { src = { d.src } } end) end)
  suite.refuses("kernel k: argument 1 (src) must be a pointer", function() text(function() return { 3, 3 } end) end)
  suite.refuses("kernel k: argument 1 (src) must be a pointer", function() text(function() return { rows = 3 } end) end)
end)

suite.case("in order, a share goes on from one part to the next", function()
  local counts = { 1, 1, 5, 2 }
  local stage = stage_of(counts, true)
  for first = 0, stage.tasks do
    for last = first, stage.tasks do
      local before = 0
      for i, loop in ipairs(loops_of(stage)) do
        local run = math.max(loop[2](first, last) - loop[1](first, last), 0)
        suite.equal(run, math.max(math.min(last, before + counts[i]) - math.max(first, before), 0))
        before = before + counts[i]
      end
    end
  end
end)

suite.case("a stage's ends hold the first and the last task of each part", function()
  for _, counts in ipairs { { 7 }, { 1 }, { 1, 12, 1 }, { 3, 1, 1, 7, 1 }, { 5, 0, 40, 2, 9 }, { 1, 1 << 31 }, { 3, 1 << 32 } } do
    for _, in_order in ipairs { false, true } do
      local stage = stage_of(counts, in_order)
      for i, loop in ipairs(loops_of(stage)) do
        local part = stage.parts[i]
        for _, task in ipairs { 0, part.count - 1 } do
          local held = false
          for _, first in ipairs(stage.ends) do
            local from, to = loop[1](first, first + 1), loop[2](first, first + 1)
            held = held or (from <= task and task < to)
          end
          assert(held or in_order and part.count > 1 << 30, ("task %d of part %d of %s"):format(task, i, table.concat(counts, " ")))
        end
      end
      for i, first in ipairs(stage.ends) do assert(first >= 0 and first < stage.tasks and first > (stage.ends[i - 1] or -1)) end
    end
  end
end)

---- blocks of Winograd's tiles that are cut for threads ----------------------------------------------------------------------------

local grid, blocks = require "rewrite/winograd/grid", require "rewrite/winograd/blocks"

-- Tiles of the share of each of `threads`; every tile is in one block, with a number of its own.
local function tiles_of_shares(rows, columns, tiles, threads)
  local function plans(sizes, outputs)
    return grid.plans({ outputs = outputs, inputs = outputs, offset = -1, taps = 3, tap_step = 1, step = 1 }, sizes)
  end
  local seen, shares, each = {}, {}, {}
  for _, block in ipairs(blocks.list(plans(rows[1], rows[2]), plans(columns[1], columns[2]), 1, tiles, threads)) do
    local numbers = {}
    blocks.each_run(block, function(hr, wr, class)
      for row = 0, hr.count - 1 do
        for column = 0, wr.count - 1 do
          local number = (row + hr.at) * class.columns + column + wr.at + class.first
          assert(number < block.classes.total and not numbers[number], "two tiles have one number")
          numbers[number] = true
          for h = 0, block.h.count - 1 do
            local at = (block.h.first + h * block.h.outputs + hr.from + row * (rows[1][hr.tile.class])) << 16
              | (block.w.first + wr.from + column * columns[1][wr.tile.class])
            assert(not seen[at], "a tile is in two blocks")
            seen[at] = true
          end
        end
      end
    end)
    for _ = 1, block.h.count * block.w.count do each[#each + 1] = block.classes.total end
  end
  for i, count in ipairs(each) do
    local t = (i - 1) * threads // #each + 1
    shares[t] = (shares[t] or 0) + count
  end
  return table.concat(shares, " ")
end

suite.case("shares of blocks are even", function()
  suite.equal(tiles_of_shares({ { 4 }, 28 }, { { 4 }, 28 }, 28, 2), "25 24")
  suite.equal(tiles_of_shares({ { 4 }, 28 }, { { 4 }, 28 }, 28, 3), "17 16 16")
  suite.equal(tiles_of_shares({ { 4, 3 }, 14 }, { { 4, 3 }, 14 }, 28, 2), "8 8")
  suite.equal(tiles_of_shares({ { 4 }, 56 }, { { 4 }, 56 }, 42, 2), "98 98")
end)

---- closed formulas of axes and blocks against walking them ------------------------------------------------------------------------

local seed = tonumber(os.getenv "CONVGEN_SEED") or os.time()
print("seed " .. seed)
math.randomseed(seed)
local R = math.random

-- An axis of a problem (gather.lua), perhaps dilated or with a stride, and sizes of tiles that cover it.
local function random_axis()
  local dilation = R(3) == 1 and R(3) or 1
  local axis = { inputs = R(40), taps = R(2, 5), tap_step = R(4) == 1 and -dilation or dilation, step = dilation == 1 and R(3) == 1 and 2 or 1 }
  local pad = R(0, 12)
  axis.offset = axis.tap_step > 0 and -pad or pad
  axis.outputs = (axis.inputs + 2 * pad - (axis.taps - 1) * dilation - 1) // axis.step + 1
  local sizes = { R(2, 6), R(2) == 1 and 1 or nil }
  if axis.outputs < 1 or not grid.cover(axis, sizes) then return random_axis() end
  return axis, sizes
end

suite.case("runs of tiles are the tiles, one after the other", function()
  for _ = 1, 500 do
    for _, plan in ipairs(grid.plans(random_axis())) do
      local first, index = 0, 0
      for _, run in ipairs(plan.runs) do
        suite.equal(run.index, index)
        suite.equal(run.first, first)
        for _ = 1, run.count do
          for i, phase in ipairs(plan.phases) do
            local at = first + phase.axis.offset + math.min(0, phase.axis.tap_step * (phase.axis.taps - 1))
            local window, size = run.tile.windows[i], run.tile.outputs + phase.axis.taps - 1
            for x = 0, size - 1 do
              suite.equal(x >= window.low and x < window.high, at + x >= 0 and at + x < phase.axis.inputs)
            end
          end
          first, index = first + run.tile.outputs, index + 1
        end
      end
      suite.equal(first, plan.axis.outputs)
      suite.equal(index, plan.tiles)
    end
  end
end)

suite.case("what a list is told of blocks is what they are", function()
  for _ = 1, 500 do
    local h, w, images, tiles = grid.plans(random_axis()), grid.plans(random_axis()), R(4), R(60)
    local threads = R(3) == 1 and R(2, 4) or nil
    local count, most, outputs = 0, 0, 0
    for _, block in ipairs(blocks.list(h, w, images, tiles, threads)) do
      local times = block.run.count * block.h.count * block.w.count
      count, most = count + times, math.max(most, block.classes.total)
      blocks.each_run(block, function(hr, wr) outputs = outputs + times * block.images * hr.count * hr.tile.outputs * wr.count * wr.tile.outputs end)
    end
    local figures, all = blocks.figures(h, w, images, tiles, threads), 0
    for _, a in ipairs(h) do
      for _, b in ipairs(w) do all = all + images * a.grids.count * a.axis.outputs * b.grids.count * b.axis.outputs end
    end
    suite.equal(figures.count, count)
    suite.equal(figures.most, most)
    suite.equal(outputs, all)
  end
end)

return suite.failures()
