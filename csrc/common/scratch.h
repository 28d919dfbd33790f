// Memory that a call works in.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <new>
#include <vector>

namespace pyemo {

constexpr std::size_t kAlignment = 64;

inline std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Memory for one call. The calling thread keeps it for its next call, up to a size: memory that went back to the system
// would be handed out page by page again, which takes longer than many a call.
class Memory {
  public:
    explicit Memory(std::size_t bytes) {
        constexpr std::size_t kMostKept = 32 << 20;
        thread_local Block kept;
        if (bytes > kMostKept) {
            data_ = own_.grow(bytes);
        } else {
            data_ = kept.grow(bytes);
        }
    }

    char* take(std::size_t bytes) {
        char* const taken = data_;
        data_ += aligned(bytes);
        return taken;
    }

  private:
    struct Block {
        char* data = nullptr;
        std::size_t size = 0;

        Block() = default;
        Block(const Block&) = delete;
        ~Block() { free(); }
        char* grow(std::size_t bytes) {
            if (bytes > size) {
                free();
                data = static_cast<char*>(::operator new(bytes, std::align_val_t(kAlignment)));
                size = bytes;
            }
            return data;
        }
        void free() {
            if (data) ::operator delete(data, std::align_val_t(kAlignment));
            data = nullptr, size = 0;
        }
    };

    Block own_;
    char* data_;
};

// Pieces of memory to work in, one for each thread that runs at once.
class Scratch {
  public:
    static std::size_t bytes(int threads, std::size_t piece) { return aligned(piece) * std::max(threads, 1); }

    Scratch(int threads, std::size_t piece, Memory& memory)
        : piece_(aligned(piece)), taken_(std::max(threads, 1)), data_(memory.take(bytes(threads, piece))) {}

    template <class Body>
    void lend(const Body& body) {
        std::size_t piece = 0;
        while (taken_[piece].exchange(true, std::memory_order_acquire)) piece = (piece + 1) % taken_.size();
        body(data_ + piece * piece_);
        taken_[piece].store(false, std::memory_order_release);
    }

  private:
    std::size_t piece_;
    std::vector<std::atomic<bool>> taken_;
    char* data_;
};

}  // namespace pyemo
