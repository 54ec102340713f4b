#include "pool.h"

#if defined(_WIN32)
static std::int64_t this_process() { return 0; }  // no fork
#else
#include <unistd.h>
static std::int64_t this_process() { return getpid(); }
#endif

namespace {
constexpr int kPhaseBits = 6, kTaskBits = 24;
constexpr int kSpins = 600;  // pauses before a waiting thread offers its core to others: some 10 µs
constexpr int kPatience = 10;  // times what was lost by waiting, until the others are asked again
constexpr int kIdleSpins = 8000;  // pauses of an idle worker before it sleeps: some 100 µs, the
                                  // time between two steps of dynamics

inline void pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#else
  std::this_thread::yield();
#endif
}

// Wait until the condition holds, or the given number of rounds has passed (never, if zero).
template <typename Condition>
bool spin(Condition holds, int rounds) {
  for (int n = 1;; ++n) {
    if (holds()) return true;
    if (rounds && n >= rounds) return false;
    pause();
    if (n > kSpins && n % 16 == 0) std::this_thread::yield();
    if (!rounds && n > 1 << 29) n = kSpins;
  }
}
}  // namespace

Pool::Pool(int n)
    : n_threads(n < 1 ? 1 : n),
      shares_(n_threads),
      workers_(new Workers),
      process_(this_process()) {
  try {
    for (int t = 1; t < n_threads; ++t) workers_->threads.emplace_back(&Pool::work, this, t);
  } catch (...) {  // the system has no more threads
    stop();
    throw;
  }
}

Pool::~Pool() {
  if (process_ == this_process()) stop();
}

void Pool::stop() {
  {
    std::lock_guard<std::mutex> lock(workers_->mutex);
    stop_ = true;
  }
  workers_->wake.notify_all();
  for (std::thread& worker : workers_->threads) worker.join();
  delete workers_;
}

void Pool::run(int n_phases, int n_tasks, Task task, const void* context, int n_shares) {
  const Clock::time_point start = Clock::now();
  if (n_threads == 1 || n_tasks == 1 || start < alone_until_ || process_ != this_process())
    return work_alone(n_phases, n_tasks, task, context, n_shares);
  const std::uint64_t job = (stamp_.load(std::memory_order_relaxed) >> kPhaseBits) + 1;
  n_phases_ = n_phases;
  n_tasks_ = n_tasks;
  n_shares_ = n_shares;
  task_ = task;
  context_ = context;
  for (int t = 0; t < n_threads; ++t) shares_[t].last = first_of(t + 1, n_tasks);
  advance((job << kPhaseBits) - 1);
  if (sleeping_.load() > 0) {
    std::lock_guard<std::mutex> lock(workers_->mutex);
    workers_->wake.notify_all();
  }
  const Part own = participate(0, job);
  if (own.tasks == 0) return;
  const Clock::time_point end = Clock::now();
  const double all = static_cast<double>(n_phases) * n_tasks / static_cast<double>(own.tasks);
  const auto alone = std::chrono::duration_cast<Clock::duration>((end - start - own.waited) * all);
  const auto lost = end - start - alone;  // if positive, by not having worked alone
  if (lost.count() > 0) alone_until_ = end + kPatience * lost;
}

int Pool::first_of(int thread, int n_tasks) const {
  return static_cast<int>(static_cast<std::int64_t>(n_tasks) * thread / n_threads);
}

// Where each thread is to do its own tasks, the caller does them in the name of each.
void Pool::work_alone(int n_phases, int n_tasks, Task task, const void* context, int n_shares) {
  for (int phase = 0; phase < n_phases; ++phase)
    for (int t = 0; t < n_threads; ++t)
      for (int k = first_of(t, n_tasks); k < first_of(t + 1, n_tasks); ++k)
        task(context, phase, k, n_shares == 1 ? t : 0);
}

void Pool::advance(std::uint64_t before) {
  const std::uint64_t stamp = before + 1;
  done_.store(0, std::memory_order_relaxed);
  for (int t = 0, first = 0; t < n_threads; ++t) {
    shares_[t].next.store(stamp << kTaskBits | static_cast<std::uint64_t>(first),
                          std::memory_order_release);
    first = shares_[t].last.load(std::memory_order_relaxed);
  }
  stamp_.store(stamp);
}

bool Pool::claim(Share& share, std::uint64_t stamp, int& task) {
  std::uint64_t word = share.next.load(std::memory_order_acquire);
  for (;;) {
    task = static_cast<int>(word & ((1u << kTaskBits) - 1));
    if (word >> kTaskBits != stamp || task >= share.last.load(std::memory_order_relaxed))
      return false;
    if (share.next.compare_exchange_weak(word, word + 1, std::memory_order_acq_rel)) return true;
  }
}

Pool::Part Pool::participate(int thread, std::uint64_t job) {
  Part own;
  for (;;) {
    const std::uint64_t stamp = stamp_.load(std::memory_order_acquire);
    const int phase = static_cast<int>(stamp & ((1u << kPhaseBits) - 1));
    if (stamp >> kPhaseBits != job || phase == n_phases_.load(std::memory_order_relaxed))
      return own;
    for (int k = 0; k < n_shares_.load(std::memory_order_relaxed); ++k) {
      Share& share = shares_[(thread + k) % n_threads];
      for (int task; claim(share, stamp, task); ++own.tasks) {
        task_.load(std::memory_order_relaxed)(context_.load(std::memory_order_relaxed), phase, task,
                                              thread);
        if (done_.fetch_add(1, std::memory_order_acq_rel) + 1 ==
            n_tasks_.load(std::memory_order_relaxed))
          advance(stamp);
      }
    }
    const Clock::time_point start = Clock::now();
    spin([&] { return stamp_.load(std::memory_order_acquire) != stamp; }, 0);
    own.waited += Clock::now() - start;
  }
}

void Pool::work(int thread) {
  std::uint64_t seen = 0;
  const auto news = [&] { return stamp_.load() >> kPhaseBits != seen || stop_.load(); };
  for (;;) {
    if (!spin(news, kIdleSpins)) {
      std::unique_lock<std::mutex> lock(workers_->mutex);
      ++sleeping_;
      workers_->wake.wait(lock, news);
      --sleeping_;
    }
    if (stop_) return;
    seen = stamp_.load() >> kPhaseBits;
    participate(thread, seen);
  }
}
