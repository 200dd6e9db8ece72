/** `mdevkit completion`: what makes a shell ask `mdevkit __complete` for the words that fit. */

export const SHELLS = ['bash', 'zsh', 'fish'] as const

type Shell = (typeof SHELLS)[number]

/** To be sourced, or put where the shell looks for completions. */
export function completionScript(shell: Shell): string {
  return SCRIPTS[shell]
}

/**
 * Each calls `mdevkit __complete` with the words up to the cursor, the unfinished one last. What comes back is a line for
 * each word that fits: the word, a tab, and what it is. A first line `:files` asks for the names of files instead.
 */
const SCRIPTS = {
  bash: `# bash completion of mdevkit
_mdevkit() {
  local program=\${COMP_WORDS[0]} line word
  local -a words lines
  # as they are written: bash breaks words at = and :, too
  read -ra words <<<"\${COMP_LINE:0:COMP_POINT}"
  if [[ \${COMP_LINE:0:COMP_POINT} == *[[:blank:]] ]]; then words+=(''); fi
  word=\${words[-1]}
  # an alias is no program
  program=\${program/#\\~\\//$HOME/}
  type -P "$program" >/dev/null || program=mdevkit
  COMPREPLY=()
  mapfile -t lines < <("$program" __complete "\${words[@]:1}" 2>/dev/null)
  if [[ \${lines[0]} == :files ]]; then
    compopt -o default 2>/dev/null
    return
  fi
  # what bash has broken off stays as it is
  if [[ $word == *[=:]* ]]; then word=\${word%"\${word##*[=:]}"}; else word=; fi
  for line in "\${lines[@]}"; do
    line=\${line%%$'\\t'*}
    COMPREPLY+=("\${line#"$word"}")
  done
}
complete -F _mdevkit mdevkit
# not in place of another mdevctl's
if ! type -P mdevctl >/dev/null || [[ $(type -P mdevctl) -ef $(type -P mdevkit) ]]; then
  complete -F _mdevkit mdevctl
fi
`,
  zsh: `#compdef mdevkit mdevctl
_mdevkit() {
  local line
  local -a program lines found
  # without quotes, and up to the cursor
  program=(\${~\${(Q)words[1]}})
  lines=("\${(@f)$("\${program[1]}" __complete "\${(@Q)words[2,CURRENT-1]}" "\${(Q)PREFIX}" 2>/dev/null)}")
  if [[ \${lines[1]} == :files ]]; then
    _files
    return
  fi
  for line in "\${lines[@]}"; do
    [[ -n $line ]] && found+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done
  _describe mdevkit found
}
if [[ \${funcstack[1]} == _mdevkit ]]; then
  _mdevkit "$@"
else
  compdef _mdevkit mdevkit mdevctl
fi
`,
  fish: `# fish completion of mdevkit
function __mdevkit_complete
    set -l words (commandline -opc) (commandline -ct)
    set -l lines ($words[1] __complete $words[2..-1] 2>/dev/null)
    if test "$lines[1]" = :files
        __fish_complete_path (commandline -ct)
    else
        printf '%s\\n' $lines
    end
end
complete -c mdevkit -f -a '(__mdevkit_complete)'
complete -c mdevctl -f -a '(__mdevkit_complete)'
`,
} as const satisfies Record<Shell, string>
