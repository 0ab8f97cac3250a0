package guest

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github-runner/charm/cloudinit"
)

// ReadScript is the script, for a POSIX shell with coreutils, that prints files. Each
// has three arguments: the program that prints a part of it, its path, and how many
// bytes that part has at most. Of each regular file that is there it prints a line,
// "INDEX BASE64", and the line "end" after the last one.
const ReadScript = `n=0; while [ $# -ge 3 ]; do ` +
	`if [ -f "$2" ] && [ -r "$2" ] && [ ! -L "$2" ]; then printf "%d " $n; "$1" -c "$3" -- "$2" | base64 -w 0; echo; fi; ` +
	`n=$((n+1)); shift 3; done; echo end`

// AwaitScript is the script that waits until there is something at a path, its first
// argument, as many half seconds as its second one says. It prints "yes", or "no"
// where there is nothing by then.
const AwaitScript = `n=$2; until [ -e "$1" ]; do [ $n -gt 0 ] || { echo no; exit; }; n=$((n-1)); sleep 0.5; done; echo yes`

// The programs that print a part of a file.
const (
	// Head prints its beginning.
	Head = "head"
	// Tail prints its end.
	Tail = "tail"
)

// File is a file in a guest.
type File struct {
	// Path is absolute.
	Path string
	// Max is how many bytes of it are read at most.
	Max int64
	// End is set where the last Max bytes of a larger file are wanted; otherwise a
	// larger one is an error.
	End bool
}

// part says how a file is read. A byte more than the bound shows that it is larger.
func (f File) part() (program string, size int64) {
	if f.End {
		return Tail, f.Max
	}
	return Head, f.Max + 1
}

// readCommand prints files.
func readCommand(files []File) (string, error) {
	var arguments []string
	for _, file := range files {
		program, size := file.part()
		arguments = append(arguments, program, file.Path, strconv.FormatInt(size, 10))
	}
	return command(ReadScript, arguments...)
}

// awaitCommand waits for a file for a time.
func awaitCommand(path string, patience time.Duration) (string, error) {
	return command(AwaitScript, path, strconv.Itoa(int(2*patience/time.Second)))
}

// command runs a script with arguments, whatever shell the user of the guest has.
func command(script string, arguments ...string) (string, error) {
	words := []string{"sh", "-c"}
	for _, word := range append([]string{script, "sh"}, arguments...) {
		quoted, err := cloudinit.Shell(word)
		if err != nil {
			return "", err
		}
		words = append(words, quoted)
	}
	return strings.Join(words, " "), nil
}

// maxAnswer is how many bytes ReadScript prints of files at most.
func maxAnswer(files []File) int64 {
	total := int64(len("end\n"))
	for i, file := range files {
		_, size := file.part()
		total += int64(len(strconv.Itoa(i))+len(" \n")) + (size+2)/3*4
	}
	return total
}

// errGarbage is the error of an answer that no script of ours gives.
var errGarbage = errors.New("its answer makes no sense, as where a job changed the machine")

// parse reads what ReadScript printed of files. Those that are not there are absent;
// those that are too large are, too, and have an error.
func parse(answer []byte, files []File) (map[string][]byte, error) {
	found := make(map[string][]byte)
	var tooLarge []error
	for next := 0; ; {
		line, rest, ended := bytes.Cut(answer, []byte("\n"))
		if string(line) == "end" && ended && len(rest) == 0 {
			return found, errors.Join(tooLarge...)
		}
		index, content, err := parseLine(line)
		if err != nil || !ended || index < next || index >= len(files) {
			return nil, errGarbage
		}
		file := files[index]
		_, most := file.part()
		switch size := int64(len(content)); {
		case size > most:
			return nil, errGarbage
		case size > file.Max:
			tooLarge = append(tooLarge, fmt.Errorf("%s is too large: it has more than %d bytes", file.Path, file.Max))
		default:
			found[file.Path] = content
		}
		next, answer = index+1, rest
	}
}

// parseLine reads what ReadScript prints of a file, and takes no other form of it.
func parseLine(line []byte) (index int, content []byte, err error) {
	number, encoded, two := strings.Cut(string(line), " ")
	index, err = strconv.Atoi(number)
	if err != nil || !two || strconv.Itoa(index) != number {
		return 0, nil, errGarbage
	}
	content, err = base64.StdEncoding.Strict().DecodeString(encoded)
	if err != nil || base64.StdEncoding.EncodedLen(len(content)) != len(encoded) {
		return 0, nil, errGarbage
	}
	return index, content, nil
}
