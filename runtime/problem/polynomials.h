/* polynomials.h, made by tools/polynomials.py: the coefficients of the activations' polynomials, lowest power first. */
static const float reduction_f32[] = {
    0xb8aa3bp-23f, 0xb17218p-24f, -0x82e308p-52f,
};
static const float limits_f32[] = {
    88.0f, -89.0f, 13.25f,
};
static const float expm1_f32[] = {
    0x800000p-24f, 0xaaaaaap-26f, 0xaaaa7ap-28f, 0x88898cp-30f,
    0xb69f72p-33f, 0xcef180p-36f,
};
static const float mills_over_f32[] = {
    0xffffffp-29f, 0x9781eep-26f, 0x82b12ep-28f, -0xbc7c16p-32f,
    -0xc748c5p-32f,
};
static const float mills_under_f32[] = {
    0x800000p-23f, 0xa00c6ap-22f, 0x9bd43cp-22f, 0x9d4994p-23f,
    0xaba10cp-25f, 0xb21d46p-28f,
};
static const double reduction_f64[] = {
    0x171547652b82fep-52, 0x162e42fefa39efp-53, 0x1abc9e3b39803fp-108,
};
static const double limits_f64[] = {
    709.0, -710.0, 37.66,
};
static const double expm1_f64[] = {
    0x10000000000000p-53, 0x15555555555559p-55, 0x1555555555554fp-57, 0x1111111110f64bp-59,
    0x16c16c16c19d08p-62, 0x1a01a01b00a4e7p-65, 0x1a01a019259ef6p-68, 0x171ddf7f82f3d2p-71,
    0x127e50a49a09ccp-74, 0x1af5f5e056181ap-78, 0x11f27a26f04746p-81,
};
static const double mills_over_f64[] = {
    0x1fffffffffffffp-58, 0x14eb890e38c845p-55, 0x1bfc62201acb97p-56, 0x10e7a06fd2ec5dp-57,
    0x18a5dbf23f9cbdp-61, -0x11efbbadc63b6ep-62, -0x1bebb6f86ceaffp-64, -0x10aa80f52727b0p-66,
    -0x108cac34838860p-70,
};
static const double mills_under_f64[] = {
    0x10000000000000p-52, 0x17f826ebc26995p-51, 0x1e712887ba62bep-51, 0x16472e5f94b391p-51,
    0x151d52d1a338b1p-52, 0x1b3d70ca99d6c1p-54, 0x182f0add404f02p-56, 0x1ccdbd6a1e4852p-59,
    0x1523ced58b0af3p-62, 0x1da24fc7ee4803p-67,
};
