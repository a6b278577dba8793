#!/usr/bin/env python3
"""Doxygen's input filter for p9/: makes documentation of the comments as they are written here.

A `//` comment is about what follows it, one behind a declaration about that, and the head of a file that begins with
the name of a type ("Ring: two byte streams ...") about that type. For what needs no comment beside the code, since spec/
says all or the name does, words.txt has one line each.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SCOPE = re.compile(r"( *)(?:struct|class|enum class) (\w+)(?: final)?(?: :[^:{;][^{;]*)? \{$")
ONE_LINE_ENUM = re.compile(r"\s*enum class (\w+)[^{]*\{[^}]*\}")
MESSAGE = re.compile(r"struct ([TR])[a-z]\w* \{$")
NAME = re.compile(r"(?:\boperator ?(\S+?)\(|\b(\w+)\(|\b(\w+)(?: = [^;]*|\{[^;]*\})?;|^\s*using (\w+) =|^enum class (\w+)|\b(k\w+) = [^;]*$)")
GROUPS = {"O": "open(2)'s flag of this name", "Get": "of Tgetattr's request_mask and valid", "Set": "of SetAttr::valid",
          "Attr": "of AttrX::valid", "Cap": "of Tcaps and Rcaps", "Walk": "of Twalkx::wflags",
          "Rename": "renameat2(2)'s flag of this name", "Xattr": "setxattr(2)'s flag of this name",
          "Seek": "lseek(2)'s whence of this name", "At": "unlinkat(2)'s flag of this name"}
GENERATED = {"static constexpr auto kType": "Its number on the wire.",
             "static constexpr auto kFields": "Its members in wire order: what encode, decode and describe walk.",
             "using Reply": "What answers it."}


def words():
    with open(os.path.join(HERE, "words.txt")) as f:
        return dict(line.rstrip("\n").split(" ", 1) for line in f if line.strip() and not line.startswith("#"))


class Filter:
    def __init__(self, path):
        self.file = os.path.basename(path)
        self.lines = open(path).read().split("\n")
        self.words = words()
        self.scopes = []  # (indentation, name)
        self.documented = False  # by a comment above
        head = []
        for line in self.lines:
            if not line.startswith("//"):
                break
            head.append(line[2:].strip())
        self.head = " ".join(head)

    def text_for(self, name):
        scope = self.scopes[-1][1] if self.scopes else ""
        if scope and f"{scope}.{name}" in self.words:
            return self.words[f"{scope}.{name}"]
        if not scope or self.file in ("messages_l.h", "messages_x.h", "types.h"):
            return self.words.get(name)
        return None

    def about(self, line):
        """What to say of the declaration in this line, if there is a comment above neither."""
        for start, what in GENERATED.items():
            if line.strip().startswith(start):
                return what
        if m := SCOPE.match(line):
            if (message := MESSAGE.match(line)) and self.file.startswith("messages_"):
                return f"The {'request' if message[1] == 'T' else 'reply'} of this name in spec/."
            return self.head if self.head.startswith(m[2] + ":") else self.words.get(m[2])
        if m := ONE_LINE_ENUM.match(line):
            return self.text_for(m[1])
        if m := NAME.search(line):
            name = next(g for g in m.groups() if g)
            return "Member by member." if "operator==" in line else self.text_for("operator" + name if m[1] else name)
        return None

    def out(self):
        for line in self.lines:
            if m := re.match(r"(\s*)//(?: (.*))?$", line):
                yield f"{m[1]}/// {self.plain(m[2] or '')}"
                self.documented = True
                continue
            while self.scopes and re.match(" " * self.scopes[-1][0] + r"\}", line):
                self.scopes.pop()
            if m := re.match(r"(.*[;,{}(])\s+// (.*)$", line):
                line = f"{m[1]}  ///< {self.plain(m[2])}"
            elif not self.documented and (what := self.about(line)):
                yield f"{re.match(r' *', line)[0]}/// {self.plain(what)}"
            if m := SCOPE.match(line.split("  ///<")[0]):
                self.scopes.append((len(m[1]), m[2]))
            yield self.constants(line)
            self.documented = False

    def constants(self, line):
        """A comment for each of several names that are declared in one line."""
        if self.file == "message_type.h":
            line = re.sub(r"k(\w+) = (\d+),", r"k\1 = \2, /**< \1 */", line)
        if self.file == "types.h" and "///<" not in line:
            line = re.sub(r"(\bk(O|Get|Set|Attr|Cap|Walk|Rename|Xattr|Seek|At)([A-Z]\w*)(?:\{[^}]*\}| = [^,;]*)([,;]))",
                          lambda m: f"{m[1]} /**< {m[3]}: {GROUPS[m[2]]}. */", line)
        return line

    @staticmethod
    def plain(text):
        return re.sub(r"([@\\<>#%])", r"\\\1", text)


if __name__ == "__main__":
    print("\n".join(Filter(sys.argv[1]).out()))
