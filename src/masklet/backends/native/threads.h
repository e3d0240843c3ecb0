// The kernels' own threads, which take work in small chunks.
//
// OpenMP ends each parallel region with a barrier that every thread must reach. On a busy machine, each of a frame's hundreds
// of calls then waits until the system has run all threads. Here the caller works, too, and waits only for threads that are
// processing a chunk. A thread that wakes late finds no chunks left. Idle threads spin for a few microseconds, because the
// next call usually comes at once, and then sleep.
//
// One call at a time uses the threads. A concurrent call of another Python thread runs on its own thread only.

#pragma once

#include <immintrin.h>
#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>

namespace {

constexpr int SPINS = 400;  // pauses before a thread sleeps: about 10 microseconds

// The chunks of one call, counted from 0.
class Chunks {
  public:
    explicit Chunks(int64_t count) : count(count) {}

    // Takes the next chunk; false if none is left.
    bool take(int64_t& chunk) {
        chunk = next.fetch_add(1, std::memory_order_relaxed);
        return chunk < count;
    }

    const int64_t count;

  private:
    std::atomic<int64_t> next{0};
};

class ThreadPool {
  public:
    // Runs body(chunks) in the calling thread and in up to `threads` - 1 others, until all chunks are done.
    template <class Body>
    void run(int64_t count, int threads, const Body& body) {
        Chunks chunks(count);
        const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
        std::unique_lock<std::mutex> only_caller(callers, std::defer_lock);
        if (helpers < 1 || !only_caller.try_lock()) {
            body(chunks);
            return;
        }
        open([](const void* context, Chunks& chunks) { (*static_cast<const Body*>(context))(chunks); }, &body, chunks, helpers);
        body(chunks);
        close();
    }

  private:
    using Call = void (*)(const void*, Chunks&);

    std::mutex callers;  // held by the caller that uses the threads
    std::mutex mutex;    // protects the members below
    std::condition_variable wake, done;
    std::atomic<uint64_t> generation{0};  // number of calls
    std::atomic<int> working{0};          // helpers that are running the body
    Call call = nullptr;                  // null after the call has ended
    const void* context = nullptr;
    Chunks* chunks = nullptr;
    int places = 0;  // number of helpers that may still join
    int started = 0;

    void open(Call next_call, const void* next_context, Chunks& next_chunks, int helpers) {
        {
            std::lock_guard<std::mutex> lock(mutex);
            call = next_call, context = next_context, chunks = &next_chunks, places = helpers;
            for (; started < helpers; started++) std::thread([this] { help(); }).detach();
            generation.fetch_add(1, std::memory_order_release);
        }
        wake.notify_all();
    }

    void close() {
        {
            std::lock_guard<std::mutex> lock(mutex);
            call = nullptr;
        }
        for (int i = 0; i < SPINS && working.load(std::memory_order_acquire); i++) _mm_pause();
        std::unique_lock<std::mutex> lock(mutex);
        done.wait(lock, [this] { return working.load() == 0; });
    }

    [[noreturn]] void help() {
        for (uint64_t seen = 0;;) {
            for (int i = 0; i < SPINS && generation.load(std::memory_order_acquire) == seen; i++) _mm_pause();
            std::unique_lock<std::mutex> lock(mutex);
            wake.wait(lock, [&] { return generation.load() != seen; });
            seen = generation.load();
            if (!call || places == 0) continue;
            places--, working++;
            const Call own_call = call;
            const void* own_context = context;
            Chunks& own_chunks = *chunks;
            lock.unlock();
            own_call(own_context, own_chunks);
            lock.lock();
            if (--working == 0 && !call) done.notify_one();
        }
    }
};

std::atomic<int> thread_count{1};

// Never destroyed, because its threads may outlive static objects. A forked child has no threads and starts new ones.
ThreadPool*& pool() {
    static ThreadPool* instance = [] {
        pthread_atfork(nullptr, nullptr, [] { pool() = new ThreadPool; });
        return new ThreadPool;
    }();
    return instance;
}

// Calls body(chunks) in all allowed threads; each takes chunks until none is left.
template <class Body>
void in_parallel(int64_t count, const Body& body) {
    pool()->run(count, thread_count.load(std::memory_order_relaxed), body);
}

}  // namespace
