// A small persistent thread pool for work in phases. Every phase is a set of tasks; a phase starts
// when the one before is done.
//
// Tasks are claimed, own share first, then those of others: the threads that run take the tasks of
// one that the system has put aside, unless each is to do its own. The claim carries the job and
// the phase, so that a late thread cannot claim amiss. A task that a thread has begun and was put
// aside in has to be waited for; after a wait that cost more than the others did, the caller works
// alone for a while, so that on a busy machine little time is lost so.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

class Pool {
 public:
  using Task = void (*)(const void* context, int phase, int task, int thread);

  explicit Pool(int n_threads);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  // Run all tasks of all phases on the caller and the workers; returns when the last is done. At
  // most 63 phases, 2^24 tasks. A thread works through so many shares, its own first: of one share,
  // it is known which thread does which task.
  void run(int n_phases, int n_tasks, Task task, const void* context, int n_shares);

  const int n_threads;

 private:
  using Clock = std::chrono::steady_clock;

  struct alignas(64) Share {
    std::atomic<std::uint64_t> next{0};  // stamp << 24 | task
    std::atomic<int> last{0};
  };
  struct Part {  // of a job, what one thread did
    std::int64_t tasks = 0;
    Clock::duration waited{0};
  };
  struct Workers {
    std::mutex mutex;
    std::condition_variable wake;
    std::vector<std::thread> threads;
  };

  void stop();
  void work(int thread);
  Part participate(int thread, std::uint64_t job);
  void work_alone(int n_phases, int n_tasks, Task task, const void* context, int n_shares);
  int first_of(int thread, int n_tasks) const;
  bool claim(Share& share, std::uint64_t stamp, int& task);
  void advance(std::uint64_t stamp);

  std::vector<Share> shares_;
  alignas(64) std::atomic<std::uint64_t> stamp_{0};  // job * 64 + phase
  alignas(64) std::atomic<int> done_{0};
  std::atomic<int> n_phases_{0}, n_tasks_{0}, n_shares_{0};
  std::atomic<Task> task_{nullptr};
  std::atomic<const void*> context_{nullptr};
  std::atomic<int> sleeping_{0};
  std::atomic<bool> stop_{false};
  Clock::time_point alone_until_{};
  // left behind in a forked child, where the threads do not exist: it would wait for them
  Workers* workers_;
  std::int64_t process_;
};
