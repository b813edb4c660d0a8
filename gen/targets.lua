-- targets.lua: what kernels are written for, one row a target.
--
-- bits: the width of a vector (0: scalars). registers: how many vectors fit. needs: processor features. flags: what a
-- system compiler must be told. operands: "registers" where arithmetic takes nothing from memory. broadcast_operand: it
-- takes one element of memory for all lanes. mask_registers: ranges of lanes need no vector register. isa: the
-- instruction set that lower/machine writes for it, a file of isa/. intrinsics: where body 1 of vec.h applies. An
-- internal row is never chosen as a machine's target.
--
-- For cost.lua: fma, loads, stores: operations of vectors a cycle; partial: stores that one of a part of a vector is
-- worth; latency: cycles until a sum can be added to; rates: cycles of a line of 64 bytes, where the machine has none
-- of its own: read from each level, written through the caches and past them (into the last one, into memory), and in
-- addition where each line is on a page of its own.
--
-- worth: what a transform may take of the time of sums in order to be estimated the better one: it costs digits and
-- code, of which a compiler makes more than lower/machine does.
local rates = { l2 = 1.5, l3 = 4, memory = 12, store_l3 = 4, store_memory = 20, stream_l3 = 12, stream_memory = 12,
  page = 8 }

local targets = {
  avx512 = {
    bits = 512, registers = 32, needs = { "avx512f", "avx512vl", "avx512dq", "avx512bw", "avx2", "fma" },
    flags = "-mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx2 -mfma", broadcast_operand = true, mask_registers = true,
    isa = "x86",
    intrinsics = "defined(__AVX512F__) && defined(__AVX512DQ__)",
  },
  avx2 = {
    bits = 256, registers = 16, needs = { "avx2", "fma" }, flags = "-mavx2 -mfma", isa = "x86",
    intrinsics = "defined(__AVX2__) && defined(__FMA__)",
  },
  portable = {
    bits = 128, registers = 16, needs = {}, flags = "", worth = 2 / 3,
    intrinsics = "defined(__FMA__)",
  },
  scalar = {
    bits = 0, lanes = 1, registers = 16, needs = {}, flags = "", internal = true,
    operands = "registers", -- whatever it runs on
    intrinsics = "0",
  },
  order = { "avx512", "avx2", "portable" }, -- best first; the last one needs nothing
}

local slots = { fma = 2, loads = 2, stores = 1, latency = 4, partial = 2, rates = rates, worth = 7 / 8 }

for name, row in pairs(targets) do
  if name ~= "order" then
    row.name = name
    for field, value in pairs(slots) do row[field] = row[field] or value end
  end
end

return targets
