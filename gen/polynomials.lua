-- polynomials.lua, made by tools/polynomials.py: the coefficients of the activations' polynomials, lowest power first.
return {
  f32 = {
    reduction = {
      0xb8aa3bp-23, 0xb17218p-24, -0x82e308p-52,
    },
    limits = {
      88.0, -89.0, 13.25,
    },
    exp_limits = {
      -104.0, 89.0,
    },
    expm1 = {
      0x800000p-24, 0xaaaaaap-26, 0xaaaa7ap-28, 0x88898cp-30,
      0xb69f72p-33, 0xcef180p-36,
    },
    log = {
      0xaaaabdp-24, 0xccaf67p-25, 0x98f0f9p-25,
    },
    erf_over = {
      0xa2f983p-24, 0x999bc5p-24, 0xf4801fp-26, 0x98be95p-28,
    },
    erf_under = {
      0x800000p-23, 0xc7f5c8p-24, 0x8edb48p-25, 0x98d0aep-28,
    },
    erf_first = {
      0x906ebbp-23, -0xfbd649p-48,
    },
    erf_limit = {
      0xfc0000p-22,
    },
    mills_over = {
      0x800000p-28, 0x95f3a3p-26, 0xcbcdcbp-29, -0xef1b57p-32,
      -0xa15b70p-32, 0xecf8a3p-44,
    },
    mills_under = {
      0x800000p-23, 0x9cefe9p-22, 0x9460f6p-22, 0x8fededp-23,
      0x95707dp-25, 0x8ee4d9p-28,
    },
  },
  f64 = {
    reduction = {
      0x171547652b82fep-52, 0x162e42fefa39efp-53, 0x1abc9e3b39803fp-108,
    },
    limits = {
      709.0, -710.0, 37.66,
    },
    exp_limits = {
      -746.0, 710.0,
    },
    expm1 = {
      0x10000000000000p-53, 0x15555555555559p-55, 0x1555555555554fp-57, 0x1111111110f64bp-59,
      0x16c16c16c19d08p-62, 0x1a01a01b00a4e7p-65, 0x1a01a019259ef6p-68, 0x171ddf7f82f3d2p-71,
      0x127e50a49a09ccp-74, 0x1af5f5e056181ap-78, 0x11f27a26f04746p-81,
    },
    log = {
      0x15555555555593p-53, 0x1999999997fa54p-54, 0x124924942212dap-54, 0x1c71c51e1c330cp-55,
      0x174664736cbca1p-55, 0x139a0deb03aafbp-55, 0x12f0e4c658d470p-55,
    },
    erf_over = {
      0x145f306dc9c883p-53, 0x12c39bdbe2f624p-52, 0x10bbd550e3b606p-52, 0x122521afbd0c37p-53,
      0x19a13aca52f55cp-55, 0x17946a0dff16cap-57, 0x1aaafa1726e2d3p-60, 0x1f902ae3daa28cp-64,
      0x17daaa942c19c4p-69,
    },
    erf_under = {
      0x10000000000000p-52, 0x1ae44108dd5242p-52, 0x166cbe470d7cfbp-52, 0x16e36fc83bb214p-53,
      0x1e9968d3b7a088p-55, 0x1ab378ba81ead6p-57, 0x1cb5932f89d66cp-60, 0x1032acc2478b3ap-63,
      0x17dae2460ef2e5p-69,
    },
    erf_first = {
      0x120dd750429b6dp-52, 0x11ae3a914fed80p-108,
    },
    erf_limit = {
      0x17c00000000000p-50,
    },
    mills_over = {
      0x1fffffffffffffp-58, 0x14eb890e38c845p-55, 0x1bfc62201acb97p-56, 0x10e7a06fd2ec5dp-57,
      0x18a5dbf23f9cbdp-61, -0x11efbbadc63b6ep-62, -0x1bebb6f86ceaffp-64, -0x10aa80f52727b0p-66,
      -0x108cac34838860p-70,
    },
    mills_under = {
      0x10000000000000p-52, 0x17f826ebc26995p-51, 0x1e712887ba62bep-51, 0x16472e5f94b391p-51,
      0x151d52d1a338b1p-52, 0x1b3d70ca99d6c1p-54, 0x182f0add404f02p-56, 0x1ccdbd6a1e4852p-59,
      0x1523ced58b0af3p-62, 0x1da24fc7ee4803p-67,
    },
  },
}
