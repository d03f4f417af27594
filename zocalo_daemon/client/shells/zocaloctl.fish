# Completion of zocaloctl for fish. Install it as
#   /usr/share/fish/vendor_completions.d/zocaloctl.fish
# or ~/.config/fish/completions/zocaloctl.fish. What can stand where is asked of `zocaloctl completion words`.

function __zocaloctl_complete
    set -l before (commandline -opc)
    set -l command $before[1]
    set -e before[1]
    set -l current (commandline -ct | string unescape)
    test (count $current) -eq 1; or set current (commandline -ct)
    set -l lines ($command completion words -- $before "$current" 2>/dev/null)
    if test "$lines[1]" = files
        set -l start (string match -r -- '^--[^=]*=' $current)
        for path in (__fish_complete_path (string replace -r -- '^--[^=]*=' '' "$current"))
            echo "$start$path"
        end
        return
    end
    set -e lines[1]
    test (count $lines) -gt 0; and printf '%s\n' $lines
end

complete -c zocaloctl -f -a '(__zocaloctl_complete)'
