-- instructions.lua: the x86 instructions that kernels use, one row each, in the notation of the processor manual.
--
-- A row of VEX is encoded with an EVEX prefix where its operands ask for one (512 bits, registers above 15, masks, one element for
-- all lanes). What depends on the type of the elements, f32 or f64, is marked:
--   %t  s or d in the spelling, %p 32x4 or 64x2;  Pt  prefix NP or 66;  St  prefix F3 or F2;  +t  an opcode one higher for f64
--   Wt  W0 or W1;  WIGt  the same under EVEX, nothing under VEX
-- L is the vector's length, LIG one element. op is the manual's operand encoding: R is in ModRM.reg, V in vvvv, M in ModRM.r/m,
-- O in the opcode, I immediate, D a jump. tuple: the unit of EVEX's compressed displacement (full: the vector, one: an element,
-- part: 128 bits). low: there is no EVEX form. r and m: registers that are none of the row's vectors. A row with several codes
-- is encoded with the first whose immediate or distance fits.
return {
  -- vectors
  load        = { means = "d = memory",        gnu = "vmovup%t",      op = "RM",   code = "VEX.L.Pt.0F.WIGt 10 /r" },
  store       = { means = "memory = x",        gnu = "vmovup%t",      op = "MR",   code = "VEX.L.Pt.0F.WIGt 11 /r" },
  stream      = { means = "memory = x",        gnu = "vmovntp%t",     op = "MR",   code = "VEX.L.Pt.0F.WIGt 2B /r" },
  move        = { means = "d = x",             gnu = "vmovap%t",      op = "RM",   code = "VEX.L.Pt.0F.WIGt 28 /r" },
  broadcast   = { means = "d = all element",   gnu = "vbroadcasts%t", op = "RM",   code = "VEX.L.66.0F38.WIGt 18+t /r", tuple = "one" },
  zero        = { means = "d = x ^ y",         gnu = "vxorps",        op = "RVM",  code = "VEX.L.NP.0F.W0 57 /r" },
  fma         = { means = "d = x*y + d",       gnu = "vfmadd231p%t",  op = "RVM",  code = "VEX.L.66.0F38.Wt B8 /r" },
  fnma        = { means = "d = -(x*y) + d",    gnu = "vfnmadd231p%t", op = "RVM",  code = "VEX.L.66.0F38.Wt BC /r" },
  add         = { means = "d = x + y",         gnu = "vaddp%t",       op = "RVM",  code = "VEX.L.Pt.0F.WIGt 58 /r" },
  mul         = { means = "d = x * y",         gnu = "vmulp%t",       op = "RVM",  code = "VEX.L.Pt.0F.WIGt 59 /r" },
  sub         = { means = "d = x - y",         gnu = "vsubp%t",       op = "RVM",  code = "VEX.L.Pt.0F.WIGt 5C /r" },
  min         = { means = "d = x < y ? x : y", gnu = "vminp%t",       op = "RVM",  code = "VEX.L.Pt.0F.WIGt 5D /r" },
  max         = { means = "d = x > y ? x : y", gnu = "vmaxp%t",       op = "RVM",  code = "VEX.L.Pt.0F.WIGt 5F /r" },
  unpack_low  = { means = "low pairs",         gnu = "vunpcklp%t",    op = "RVM",  code = "VEX.L.Pt.0F.WIGt 14 /r" },
  unpack_high = { means = "high pairs",        gnu = "vunpckhp%t",    op = "RVM",  code = "VEX.L.Pt.0F.WIGt 15 /r" },
  shuffle     = { means = "two of x, two of y", gnu = "vshufps",      op = "RVMI", code = "VEX.L.NP.0F.W0 C6 /r ib" },
  insert128   = { means = "a half of d",       gnu = "vinsertf128",   op = "RVMI", code = "VEX.256.66.0F3A.W0 18 /r ib", low = true },
  extract128  = { means = "a half of x",       gnu = "vextractf128",  op = "MRI",  code = "VEX.256.66.0F3A.W0 19 /r ib", low = true },
  insert      = { means = "a part of d",       gnu = "vinsertf%p",    op = "RVMI", code = "EVEX.L.66.0F3A.Wt 18 /r ib", tuple = "part" },
  extract     = { means = "a part of x",       gnu = "vextractf%p",   op = "MRI",  code = "EVEX.L.66.0F3A.Wt 19 /r ib", tuple = "part" },
  load_mask   = { means = "d = memory, masked", gnu = "vmaskmovp%t",  op = "RVM",  code = "VEX.L.66.0F38.W0 2C+t /r", low = true },
  store_mask  = { means = "memory = x, masked", gnu = "vmaskmovp%t",  op = "MVR",  code = "VEX.L.66.0F38.W0 2E+t /r", low = true },
  -- one element
  load_one    = { means = "d = element",       gnu = "vmovs%t",       op = "RM",   code = "VEX.LIG.St.0F.WIGt 10 /r", tuple = "one" },
  store_one   = { means = "element = x",       gnu = "vmovs%t",       op = "MR",   code = "VEX.LIG.St.0F.WIGt 11 /r", tuple = "one" },
  fma_one     = { means = "d = x*y + d",       gnu = "vfmadd231s%t",  op = "RVM",  code = "VEX.LIG.66.0F38.Wt B9 /r", tuple = "one" },
  fnma_one    = { means = "d = -(x*y) + d",    gnu = "vfnmadd231s%t", op = "RVM",  code = "VEX.LIG.66.0F38.Wt BD /r", tuple = "one" },
  add_one     = { means = "d = x + y",         gnu = "vadds%t",       op = "RVM",  code = "VEX.LIG.St.0F.WIGt 58 /r", tuple = "one" },
  mul_one     = { means = "d = x * y",         gnu = "vmuls%t",       op = "RVM",  code = "VEX.LIG.St.0F.WIGt 59 /r", tuple = "one" },
  sub_one     = { means = "d = x - y",         gnu = "vsubs%t",       op = "RVM",  code = "VEX.LIG.St.0F.WIGt 5C /r", tuple = "one" },
  min_one     = { means = "d = x < y ? x : y", gnu = "vmins%t",       op = "RVM",  code = "VEX.LIG.St.0F.WIGt 5D /r", tuple = "one" },
  max_one     = { means = "d = x > y ? x : y", gnu = "vmaxs%t",       op = "RVM",  code = "VEX.LIG.St.0F.WIGt 5F /r", tuple = "one" },
  -- masks and state
  set_mask    = { means = "mask = r32",        gnu = "kmovw",         op = "RM",   code = "VEX.128.NP.0F.W0 92 /r", r = "k", m = "r32" },
  clean       = { means = "upper halves = 0",  gnu = "vzeroupper",    op = "ZO",   code = "VEX.128.NP.0F.W0 77" },
  fence       = { means = "streams are done",  gnu = "sfence",        op = "ZO",   code = "0F AE F8" },
  prefetch1   = { means = "fetch a line",      gnu = "prefetcht0",    op = "M",    code = "0F 18 /1" },
  prefetch2   = { means = "fetch a line",      gnu = "prefetcht1",    op = "M",    code = "0F 18 /2" },
  prefetch3   = { means = "fetch a line",      gnu = "prefetcht2",    op = "M",    code = "0F 18 /3" },
  -- pointers and counts
  copy        = { means = "r = r",             gnu = "movq",          op = "MR",   code = "REX.W 89 /r" },
  read        = { means = "r = memory",        gnu = "movq",          op = "RM",   code = "REX.W 8B /r" },
  write       = { means = "memory = r",        gnu = "movq",          op = "MR",   code = "REX.W 89 /r" },
  set         = { means = "r = imm32",         gnu = "movl",          op = "OI",   code = "B8+rd id", m = "r32" },
  set_wide    = { means = "r = imm64",         gnu = "movabsq",       op = "OI",   code = "REX.W B8+rd io" },
  address     = { means = "r = address",       gnu = "leaq",          op = "RM",   code = "REX.W 8D /r" },
  plus        = { means = "r += imm",          gnu = "addq",          op = "MI",   code = { "REX.W 83 /0 ib", "REX.W 81 /0 id" } },
  plus_read   = { means = "r += memory",       gnu = "addq",          op = "RM",   code = "REX.W 03 /r" },
  plus_reg    = { means = "r += r",            gnu = "addq",          op = "MR",   code = "REX.W 01 /r" },
  minus       = { means = "r -= imm",          gnu = "subq",          op = "MI",   code = { "REX.W 83 /5 ib", "REX.W 81 /5 id" } },
  both        = { means = "r &= imm8",         gnu = "andq",          op = "MI",   code = "REX.W 83 /4 ib" },
  shift       = { means = "r <<= imm8",        gnu = "shlq",          op = "MI",   code = "REX.W C1 /4 ib" },
  down        = { means = "r -= 1",            gnu = "decq",          op = "M",    code = "REX.W FF /1" },
  test        = { means = "sign and zero of r", gnu = "testq",        op = "MR",   code = "REX.W 85 /r" },
  test_low    = { means = "bits of al",        gnu = "testb",         op = "I",    code = "A8 ib" },
  push        = { means = "save r",            gnu = "pushq",         op = "O",    code = "50+rd" },
  pop         = { means = "restore r",         gnu = "popq",          op = "O",    code = "58+rd" },
  jump        = { means = "go",                gnu = "jmp",           op = "D",    code = { "EB cb", "E9 cd" } },
  jump_le     = { means = "go if <= 0",        gnu = "jle",           op = "D",    code = { "7E cb", "0F 8E cd" } },
  jump_ne     = { means = "go if not 0",       gnu = "jne",           op = "D",    code = { "75 cb", "0F 85 cd" } },
  ret         = { means = "return",            gnu = "ret",           op = "ZO",   code = "C3" },
}
