#include "sentry/platform/trap/patcher.h"

#include <emmintrin.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "base/log.h"
#include "sentry/platform/trap/emitter.h"
#include "sentry/platform/trap/stub_abi.h"

namespace run9::sentry::trap {
namespace {

constexpr uint64_t kMaxImage = 8 << 20, kMaxImages = 64 << 20;  // bytes
constexpr uint64_t kMaxOffset = 0x60000000;  // in a file: a trampoline adds 31 bits to its base, a site's own distances included
constexpr size_t kMaxKnown = 4096;                              // files, those without call sites included

// The site whose `syscall` is at text[at].
std::optional<PatchedSite> recognize(const uint8_t* text, size_t size, size_t at) {
  PatchedSite s;
  for (const uint8_t length : {uint8_t{5}, uint8_t{7}}) {
    if (at < 8) break;
    const NumberMove move = number_move(text, at - length);
    if (move.length != length) continue;
    s.offset = static_cast<uint32_t>(at - length);
    s.length = s.extent = static_cast<uint8_t>(length + 2);
    s.mode = MODE_PLAIN;
    s.trap = length;
    s.number = move.number;
    return s;
  }
  const uint8_t* p = text + at;
  if (size - at >= 8 && p[2] == 0x48 && p[3] == 0x3d && (p[4] & 0xfe) == 0 && p[5] == 0xf0 && p[6] == 0xff &&
      p[7] == 0xff) {
    s.offset = static_cast<uint32_t>(at);
    s.length = s.trap = 2;
    s.extent = 8;
    s.mode = p[4] == 1 ? MODE_CMP_4095 : MODE_CMP_4096;
    return s;
  }
  return find_wide_site(text, size, at);
}

template <typename F>
void for_each_syscall(const uint8_t* text, size_t size, F found) {
  size_t i = 0;
  const __m128i first = _mm_set1_epi8(0x0f), second = _mm_set1_epi8(0x05);
  for (; i + 17 <= size; i += 16) {
    const __m128i a = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + i));
    const __m128i b = _mm_loadu_si128(reinterpret_cast<const __m128i*>(text + i + 1));
    auto bits = static_cast<unsigned>(
        _mm_movemask_epi8(_mm_and_si128(_mm_cmpeq_epi8(a, first), _mm_cmpeq_epi8(b, second))));
    for (; bits != 0; bits &= bits - 1) found(i + static_cast<size_t>(__builtin_ctz(bits)));
  }
  for (; i + 2 <= size; ++i) {
    if (text[i] == 0x0f && text[i + 1] == 0x05) found(i);
  }
}

void emit_trampoline(uint8_t* at, uint64_t address, uint64_t base_slot, uint64_t file_return, const PatchedSite& s) {
  Emitter e(at, address);
  e.bytes({0x48, 0x8b, 0x0d});  // mov base_slot(%rip), %rcx
  e.relative(base_slot);
  e.bytes({0x48, 0x8d, 0x89});  // lea file_return(%rcx), %rcx
  e.word(static_cast<uint32_t>(file_return));
  if (s.mode == MODE_PLAIN) e.bytes({0x9f, 0x0f, 0x90, 0xc0});  // lahf; seto %al
  e.bytes({0xf3, 0x49, 0x0f, 0xae, 0xcb});                      // rdgsbase %r11
  e.bytes({0x65, 0x4c, 0x3b, 0x1c, 0x25});                      // cmp %gs:CTL_SELF, %r11
  e.word(CTL_SELF);
  if (s.mode == MODE_PLAIN) {
    e.bytes({0x75, PATCH_SLOW_PLAIN - PATCH_GS_PLAIN - 11});  // jne
    e.bytes({0x41, 0x89, 0x83});                              // mov %eax, CTL_FLAGS(%r11)
    e.word(CTL_FLAGS);
    e.bytes({0xb8});  // mov $number, %eax
    e.word(s.number);
    e.bytes({0xe9});
    e.relative(STUB_DISPATCH(MODE_PLAIN));
    e.bytes({0x04, 0x7f, 0x9e, 0xb8});  // add $0x7f, %al; sahf; mov $number, %eax
    e.word(s.number);
  } else {
    e.bytes({0x75, PATCH_SLOW_CMP - PATCH_GS_CMP - 11});
    e.bytes({0xe9});
    e.relative(STUB_DISPATCH(static_cast<uint64_t>(s.mode)));
  }
  e.bytes({0xe9});
  e.relative(STUB_FOREIGN(static_cast<uint64_t>(s.mode)));
}

}  // namespace

std::vector<PatchedSite> find_sites(const uint8_t* text, size_t size) {
  std::vector<PatchedSite> sites;
  size_t end = 0;
  for_each_syscall(text, size, [&](size_t at) {
    const auto s = recognize(text, size, at);
    if (!s || s->offset < end) return;
    end = size_t{s->offset} + s->extent;
    sites.push_back(*s);
  });
  return sites;
}

const PatchedSite* PatchedImage::site_at(uint64_t offset) const {
  auto it = std::upper_bound(sites.begin(), sites.end(), offset,
                             [](uint64_t o, const PatchedSite& s) { return o < s.offset; });
  if (it == sites.begin()) return nullptr;
  --it;
  return offset - it->offset < it->extent ? &*it : nullptr;
}

Result<TextPatcher> TextPatcher::create() {
  return TextPatcher(TRY(SharedMemory::create("run9-patches", STUB_PATCHES_SIZE + STUB_TABLE_SIZE, true)));
}

std::shared_ptr<const PatchedImage> TextPatcher::image_of(BorrowedFd file, uint64_t offset, uint64_t length) {
  if (length > kMaxImage || bytes_ + length > kMaxImages) return nullptr;
  if (next_narrow_ >= kFirstVdsoSlot && next_wide_ >= STUB_WIDE_COUNT) return nullptr;
  if (offset > kMaxOffset - length) return nullptr;
  struct stat st;
  if (host_fstat(file.get(), &st) != 0 || !S_ISREG(st.st_mode)) return nullptr;
  // A memfd is memory that the guest can write through another mapping, unseen.
  if (st.st_nlink == 0) return nullptr;
  const Key key{st.st_dev, st.st_ino, static_cast<uint64_t>(st.st_size), offset, length, st.st_mtim.tv_sec,
                st.st_mtim.tv_nsec, st.st_ctim.tv_sec, st.st_ctim.tv_nsec};
  const auto it = images_.find(key);
  if (it != images_.end()) return it->second;
  // A guest can make as many keys as it likes; those that led to nothing need not be remembered.
  if (images_.size() >= kMaxKnown) std::erase_if(images_, [](const auto& known) { return !known.second; });
  auto image = make(file, offset, length);
  images_[key] = image;
  return image;
}

std::shared_ptr<const PatchedImage> TextPatcher::make(BorrowedFd file, uint64_t offset, uint64_t length) {
  if (next_image_ >= STUB_BASES_SIZE / 8) return nullptr;
  auto image = std::make_shared<PatchedImage>();
  auto memory = take_fd(memfd_create("run9-text", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  auto original = take_fd(fcntl(file.get(), F_DUPFD_CLOEXEC, 0));
  if (!memory.has_value() || !original.has_value()) return nullptr;
  image->memory = std::move(memory).value();
  image->file = std::move(original).value();
  image->file_offset = offset;
  image->length = length;
  if (ftruncate(image->memory.get(), static_cast<off_t>(length)) != 0) return nullptr;
  void* p = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, image->memory.get(), 0);
  if (p == MAP_FAILED) return nullptr;
  auto* text = static_cast<uint8_t*>(p);
  size_t have = 0;
  while (have < length) {
    const ssize_t n = pread(file.get(), text + have, length - have, static_cast<off_t>(offset + have));
    if (n <= 0) break;  // the end: what is behind it in the last page is zero
    have += static_cast<size_t>(n);
  }
  image->index = next_image_;
  for (PatchedSite& s : find_sites(text, have)) {
    if (patch(*image, text, s)) image->sites.push_back(s);
  }
  munmap(p, length);
  if (image->sites.empty()) return nullptr;
  fcntl(image->memory.get(), F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  ++next_image_;
  bytes_ += length;
  log_debug("patched {} call sites in {} KiB of text", image->sites.size(), length >> 10);
  return image;
}

void TextPatcher::add_vdso_calls(std::span<const VdsoCall> calls) {
  uint32_t slot = kFirstVdsoSlot;
  for (const VdsoCall& call : calls) {
    if (call.number == 0) break;
    PatchedSite site;
    site.mode = MODE_PLAIN;
    site.number = static_cast<uint16_t>(call.number);
    const uint64_t trampoline = STUB_PATCHES + uint64_t{slot} * STUB_PATCH_SIZE;
    emit_trampoline(code_at(trampoline), trampoline, STUB_SHARED + offsetof(SharedPage, vdso), call.behind, site);
    set_entry(slot++, trampoline);
  }
}

uint8_t* TextPatcher::code_at(uint64_t trampoline) const {
  return static_cast<uint8_t*>(pages_.data()) + (trampoline - STUB_PATCHES);
}

// The table lies behind the trampolines.
void TextPatcher::set_entry(uint32_t slot, uint64_t trampoline) {
  memcpy(code_at(STUB_PATCHES + STUB_PATCHES_SIZE) + 8 * uint64_t{slot}, &trampoline, sizeof trampoline);
}

bool TextPatcher::patch(PatchedImage& image, uint8_t* text, PatchedSite& s) {
  uint32_t& next = s.loop ? next_loop_ : s.wide ? next_wide_ : next_narrow_;
  if (next >= (s.wide ? STUB_WIDE_COUNT : kFirstVdsoSlot)) return false;
  const uint32_t slot = next, n = s.wide ? STUB_NARROW_COUNT + slot : slot;
  next += s.loop ? kLoopStep : 1;
  if (s.wide && !s.loop && next % kLoopStep == kFirstLoop) ++next;
  const uint64_t trampoline =
      s.wide ? STUB_WIDE + uint64_t{slot} * STUB_WIDE_SIZE : STUB_PATCHES + uint64_t{slot} * STUB_PATCH_SIZE;
  uint8_t* const code = code_at(trampoline);
  const uint64_t base_slot = STUB_BASES + 8 * uint64_t{image.index};
  if (s.wide) {
    s.slot = static_cast<uint16_t>(slot);
    emit_wide_trampoline(code, s, text, base_slot, image.file_offset);
  } else {
    emit_trampoline(code, trampoline, base_slot, image.file_offset + s.offset + s.length, s);
  }
  set_entry(n, trampoline);
  const uint32_t entry = STUB_TABLE + 8 * n;
  uint8_t* site = text + s.offset;
  // Prefixes without effect, not a nop: nobody may stand inside the site when it is undone.
  const int prefixes = s.loop ? 1 : !s.wide && s.length == 9 ? 2 : 0;
  for (int i = 0; i < prefixes; ++i) *site++ = 0x2e;
  *site++ = 0xff;  // jmp *entry
  *site++ = 0x24;
  *site++ = 0xe5;
  memcpy(site, &entry, 4);
  if (!s.wide && s.mode != MODE_PLAIN) site[4] = 0x90;
  return true;
}

}  // namespace run9::sentry::trap
