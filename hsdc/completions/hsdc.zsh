#compdef hsdc
# Completion of hsdc for zsh. `hsdc --install-completion zsh` writes it anew after an update of hsdc.

_hsdc_names() {  # offers the names of the specs in a folder of the nearest project; no other file name is used
    setopt localoptions extendedglob
    local folder=$PWD inner=$1
    local -a names
    shift
    while [[ -n $folder && ! -d $folder/specs ]]; do folder=${folder%/*}; done
    names=($folder/$inner/*.yaml(N:t:r))
    names=(${(M)names:#[a-z][a-z0-9_]#})
    compadd "$@" -a names
}
_hsdc_runs() { _hsdc_names specs "$@" }
_hsdc_profiles() { _hsdc_names specs/profiles "$@" }

# GRAMMAR
