// /proc/cpuinfo: the processor is the host's, which guests could ask by CPUID themselves; how many there
// are is the sandbox's.
#include <cpuid.h>

#include <cstring>

#include "sentry/fs/proc/proc_fs.h"

namespace run9::sentry {
namespace {

struct Leaf {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};

Leaf cpuid(uint32_t leaf, uint32_t sub = 0) {
  Leaf r;
  if (__get_cpuid_count(leaf, sub, &r.a, &r.b, &r.c, &r.d) == 0) return {};
  return r;
}

// Names by bit, as arch/x86/include/asm/cpufeatures.h has them; empty: not shown.
using Names = std::string_view[32];
constexpr Names kLeaf1D = {"fpu", "vme", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "", "sep",
                           "mtrr", "pge", "mca", "cmov", "pat", "pse36", "pn", "clflush", "", "dts", "acpi",
                           "mmx", "fxsr", "sse", "sse2", "ss", "ht", "tm", "ia64", "pbe"};
constexpr Names kExtD = {"", "", "", "", "", "", "", "", "", "", "", "syscall", "", "", "", "", "", "", "",
                         "mp", "nx", "", "mmxext", "", "", "fxsr_opt", "pdpe1gb", "rdtscp", "", "lm",
                         "3dnowext", "3dnow"};
constexpr Names kLeaf1C = {"pni", "pclmulqdq", "dtes64", "monitor", "ds_cpl", "", "", "est", "tm2",
                           "ssse3", "cid", "sdbg", "fma", "cx16", "xtpr", "pdcm", "", "pcid", "dca",
                           "sse4_1", "sse4_2", "x2apic", "movbe", "popcnt", "tsc_deadline_timer", "aes",
                           "xsave", "", "avx", "f16c", "rdrand", "hypervisor"};
constexpr Names kExtC = {"lahf_lm", "cmp_legacy", "", "extapic", "cr8_legacy", "abm", "sse4a",
                         "misalignsse", "3dnowprefetch", "osvw", "ibs", "xop", "skinit", "wdt", "", "lwp",
                         "fma4", "tce", "", "nodeid_msr", "", "tbm", "topoext", "perfctr_core",
                         "perfctr_nb", "", "bpext", "ptsc", "perfctr_llc", "mwaitx", "", ""};
constexpr Names kLeaf7B = {"fsgsbase", "tsc_adjust", "", "bmi1", "hle", "avx2", "", "smep", "bmi2", "erms",
                           "invpcid", "rtm", "cqm", "", "mpx", "rdt_a", "avx512f", "avx512dq", "rdseed",
                           "adx", "smap", "avx512ifma", "", "clflushopt", "clwb", "intel_pt", "avx512pf",
                           "avx512er", "avx512cd", "sha_ni", "avx512bw", "avx512vl"};
constexpr Names kLeaf7C = {"", "avx512vbmi", "umip", "pku", "", "waitpkg", "avx512_vbmi2", "", "gfni",
                           "vaes", "vpclmulqdq", "avx512_vnni", "avx512_bitalg", "tme",
                           "avx512_vpopcntdq", "", "la57", "", "", "", "", "", "rdpid", "",
                           "bus_lock_detect", "cldemote", "", "movdiri", "movdir64b", "enqcmd", "", ""};
constexpr Names kLeaf7D = {"", "", "avx512_4vnniw", "avx512_4fmaps", "fsrm", "", "", "",
                           "avx512_vp2intersect", "", "md_clear", "", "", "", "serialize", "", "tsxldtrk",
                           "", "pconfig", "arch_lbr", "", "", "amx_bf16", "avx512_fp16", "amx_tile",
                           "amx_int8", "", "", "flush_l1d", "arch_capabilities", "", ""};
constexpr Names kLeaf71A = {"", "", "", "", "avx_vnni", "avx512_bf16", "", "", "", "", "fzrm", "fsrs", "fsrc",
                            "", "", "", "", "", "", "", "", "amx_fp16", "", "avx_ifma", "", "", "lam", "", "",
                            "", "", ""};
constexpr Names kLeafDA = {"xsaveopt", "xsavec", "xgetbv1", "xsaves", "", "", "", "", "", "", "", "", "", "",
                           "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", "", ""};

void add_names(std::string& out, uint32_t bits, const Names& names) {
  for (size_t i = 0; i < 32; ++i) {
    if (((bits >> i) & 1) == 0 || names[i].empty()) continue;
    if (!out.empty()) out += ' ';
    out += names[i];
  }
}

std::string flags() {
  const Leaf one = cpuid(1), seven = cpuid(7), ext = cpuid(0x80000001), power = cpuid(0x80000007);
  std::string t;
  add_names(t, one.d, kLeaf1D);
  add_names(t, ext.d, kExtD);
  if ((power.d >> 8) & 1) t += " constant_tsc";
  t += " rep_good nopl xtopology";
  if ((power.d >> 8) & 1) t += " nonstop_tsc";
  t += " cpuid";
  add_names(t, one.c, kLeaf1C);
  add_names(t, ext.c, kExtC);
  add_names(t, seven.b, kLeaf7B);
  add_names(t, cpuid(0xd, 1).a, kLeafDA);
  add_names(t, cpuid(7, 1).a, kLeaf71A);
  add_names(t, seven.c, kLeaf7C);
  add_names(t, seven.d, kLeaf7D);
  return t;
}

std::string vendor() {
  const Leaf zero = cpuid(0);
  std::string t(12, '\0');
  std::memcpy(t.data(), &zero.b, 4);
  std::memcpy(t.data() + 4, &zero.d, 4);
  std::memcpy(t.data() + 8, &zero.c, 4);
  return t;
}

std::string model_name() {
  if (cpuid(0x80000000).a < 0x80000004) return "unknown";
  std::string t;
  for (uint32_t leaf = 0x80000002; leaf <= 0x80000004; ++leaf) {
    t += bytes_of(cpuid(leaf));
  }
  t.resize(std::min(t.find('\0'), t.size()));
  return std::string(trimmed(t));
}

}  // namespace

std::string cpu_info(Kernel& kernel) {
  const Leaf one = cpuid(1), sizes = cpuid(0x80000008), cache = cpuid(0x80000006);
  uint32_t family = (one.a >> 8) & 0xf, model = (one.a >> 4) & 0xf;
  if (family == 6 || family == 15) model |= (one.a >> 12) & 0xf0;
  if (family == 15) family += (one.a >> 20) & 0xff;
  const uint32_t mhz = cpuid(0x16).a & 0xffff;
  const double clock = mhz != 0 ? mhz : 2000;
  const uint32_t line = ((one.b >> 8) & 0xff) * 8;
  const int cpus = std::max(1, kernel.options().cpus);
  const std::string model_text = model_name(), vendor_text = vendor(), flag_text = flags();
  std::string t;
  for (int i = 0; i < cpus; ++i) {
    t += fmt::format("processor\t: {}\nvendor_id\t: {}\ncpu family\t: {}\nmodel\t\t: {}\n", i, vendor_text,
                     family, model);
    t += fmt::format("model name\t: {}\nstepping\t: {}\nmicrocode\t: 0x1\ncpu MHz\t\t: {:.3f}\n", model_text,
                     one.a & 0xf, clock);
    t += fmt::format("cache size\t: {} KB\nphysical id\t: 0\nsiblings\t: {}\ncore id\t\t: {}\n",
                     cache.c >> 16, cpus, i);
    t += fmt::format("cpu cores\t: {}\napicid\t\t: {}\ninitial apicid\t: {}\nfpu\t\t: yes\n", cpus, i, i);
    t += fmt::format("fpu_exception\t: yes\ncpuid level\t: {}\nwp\t\t: yes\nflags\t\t: {}\n", cpuid(0).a,
                     flag_text);
    t += fmt::format("bugs\t\t:\nbogomips\t: {:.2f}\nclflush size\t: {}\ncache_alignment\t: {}\n", clock * 2,
                     line, line);
    t += fmt::format("address sizes\t: {} bits physical, {} bits virtual\npower management:\n\n",
                     sizes.a & 0xff, (sizes.a >> 8) & 0xff);
  }
  return t;
}

}  // namespace run9::sentry
