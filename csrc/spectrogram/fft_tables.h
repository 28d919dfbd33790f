#pragma once

namespace pyemo::spectrogram {

constexpr int kMaxPasses = 32;

// What the kernels need to know of a complex Fourier transform of length n: X[k] = sum over i of x[i] e^(-2 pi i k /
// n). It runs in place by decimation in frequency, so that X[k] ends at number position[k] of the work array.
template <class T>
struct FftTables {
    struct Pass {
        int radix;
        // Of a pass over blocks of m * radix numbers: for each of m butterflies, the factors of its outputs 1 to
        // radix - 1, real and imaginary part in turn. Null in the last pass, which has none.
        const T* twiddles;
    };

    int n;
    int passes;
    Pass pass[kMaxPasses];
    const int* position;

    // Lengths with prime factors above five are brought to a cyclic convolution of a length that is a power of two
    // (Bluestein's algorithm); else null.
    const FftTables* convolution;
    const T* chirp;           // e^(-i pi j^2 / n), real and imaginary part in turn
    const T* chirp_spectrum;  // the transform of its conjugate, over the length of the convolution

    // Complex numbers of the work array.
    int work_size() const { return convolution ? 2 * convolution->n : n; }
};

}  // namespace pyemo::spectrogram
