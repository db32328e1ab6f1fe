// A WAN on one machine: two network namespaces and a link between them, for as long as stdin is
// open.
//
//   wan-link [seed=N] [KEY=VALUE...]      keys: shape.h; commands on stdin, an answer each on
//   stdout
//
// Two processes: one carries packets, the other waits for its end, however that comes, and removes
// what is left. Killed both at once, the next link finds the names and removes them.
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <system_error>

#include "link.h"

namespace {
using dwcp::lab::Link;
using dwcp::lab::Shape;

constexpr size_t kLineMax = 4096;

struct Plan {
  Shape shape;
  uint64_t seed = 1;
};

void RemoveHosts(int owner) {
  for (const char side : {'a', 'b'}) dwcp::lab::RemoveHost(dwcp::lab::HostName(owner, side));
}

void Say(const std::string& line) {
  const std::string whole = line + "\n";
  // Nobody may be there to read it: the next read of stdin tells.
  if (write(STDOUT_FILENO, whole.data(), whole.size()) < 0) return;
}

/** Until stdin ends or a signal comes. */
void Serve(Link* link, int signals) {
  std::string buffered;
  while (true) {
    pollfd polled[] = {{STDIN_FILENO, POLLIN, 0}, {signals, POLLIN, 0}};
    poll(polled, 2, -1);
    if (polled[1].revents != 0) return;
    char chunk[kLineMax];
    const ssize_t got = read(STDIN_FILENO, chunk, sizeof chunk);
    if (got <= 0) return;
    buffered.append(chunk, size_t(got));
    for (size_t end; (end = buffered.find('\n')) != std::string::npos;) {
      Say(link->Obey(buffered.substr(0, end)));
      buffered.erase(0, end + 1);
    }
    if (buffered.size() > kLineMax) return;
  }
}

int Carry(const Plan& plan, int owner, const sigset_t& ends) {
  prctl(PR_SET_PDEATHSIG, SIGTERM);
  if (getppid() != owner) return 1;
  const int signals = signalfd(-1, &ends, SFD_CLOEXEC);
  try {
    Link link(owner, plan.shape, plan.seed);
    Say(link.Introduction());
    Serve(&link, signals);
  } catch (const std::system_error& error) {
    fprintf(stderr, "wan-link: %s\n", error.what());
    return 1;
  }
  if (getppid() != owner) RemoveHosts(owner);
  return 0;
}

/** Passes signals on and waits for the carrier's end. */
int Guard(pid_t carrier, const sigset_t& ends) {
  sigset_t awaited = ends;
  sigaddset(&awaited, SIGCHLD);
  int status = 0;
  while (waitpid(carrier, &status, WNOHANG) == 0) {
    int signal = 0;
    sigwait(&awaited, &signal);
    if (signal != SIGCHLD) kill(carrier, SIGTERM);
  }
  RemoveHosts(getpid());
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

bool ReadPlan(int argc, char** argv, Plan* plan) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    std::string problem;
    if (word.rfind("seed=", 0) == 0) {
      plan->seed = strtoull(word.c_str() + 5, nullptr, 10);
    } else {
      problem = dwcp::lab::SetKey(word, &plan->shape);
    }
    if (problem.empty()) continue;
    fprintf(stderr, "wan-link: %s\n", problem.c_str());
    return false;
  }
  const std::string problem = dwcp::lab::Contradiction(plan->shape);
  if (!problem.empty()) fprintf(stderr, "wan-link: %s\n", problem.c_str());
  return problem.empty();
}
}  // namespace

int main(int argc, char** argv) {
  Plan plan;
  if (!ReadPlan(argc, argv, &plan)) return 2;
  sigset_t ends;
  sigemptyset(&ends);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&ends, signal);
  sigset_t blocked = ends;
  sigaddset(&blocked, SIGCHLD);
  sigprocmask(SIG_BLOCK, &blocked, nullptr);
  signal(SIGPIPE, SIG_IGN);
  dwcp::lab::RemoveStaleHosts();
  const int owner = getpid();
  const pid_t carrier = fork();
  if (carrier < 0) return perror("wan-link: fork"), 1;
  return carrier == 0 ? Carry(plan, owner, ends) : Guard(carrier, ends);
}
