#pragma once

// Marks what kernels of both kinds use.
#ifdef __CUDACC__
#define PYEMO_HOST_DEVICE __host__ __device__
#else
#define PYEMO_HOST_DEVICE
#endif
