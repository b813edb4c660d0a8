-- targets.lua: what kernels are written for, one row a target.
--
-- bits: the width of a vector (0: scalars). registers: how many vectors fit. needs: processor features. flags: what a system
-- compiler must be told. broadcast_operand: arithmetic takes one element of memory for all lanes; mask_registers: ranges of lanes
-- need no vector register. machine: lower/machine writes for it. intrinsics: where body 1 of vec.h applies. An internal row is
-- never chosen as a machine's target.
--
-- What estimates need: fma, loads, stores: how many of each a cycle; latency: cycles from one fma to the next of a chain; rates: cycles for
-- a line of 64 bytes (runtime/internal.h, cg_rate), assumed of a machine that nobody measured.
local rates = {
  l2 = 2, l3 = 5, memory = 14, store_l3 = 5, store_memory = 18, stream_l3 = 14, stream_memory = 14, page = 3,
}

local targets = {
  avx512 = {
    bits = 512, registers = 32, needs = { "avx512f", "avx512vl", "avx512dq", "avx512bw", "avx2", "fma" },
    flags = "-mavx512f -mavx512vl -mavx512dq -mavx512bw -mavx2 -mfma", broadcast_operand = true, mask_registers = true,
    machine = true,
    intrinsics = "defined(__AVX512F__) && defined(__AVX512DQ__)",
  },
  avx2 = {
    bits = 256, registers = 16, needs = { "avx2", "fma" }, flags = "-mavx2 -mfma", machine = true,
    intrinsics = "defined(__AVX2__) && defined(__FMA__)",
  },
  portable = {
    bits = 128, registers = 16, needs = {}, flags = "",
    intrinsics = "defined(__FMA__)",
  },
  scalar = {
    bits = 0, lanes = 1, registers = 16, needs = {}, flags = "", internal = true,
    intrinsics = "0",
  },
  order = { "avx512", "avx2", "portable" }, -- best first; the last one needs nothing
}

for name, row in pairs(targets) do
  if name ~= "order" then
    row.name = name
    row.fma, row.loads, row.stores, row.latency, row.rates = 2, 2, 1, 4, rates
  end
end

return targets
