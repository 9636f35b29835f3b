# certificate authorities that the mirrors of packages use: files of the building machine, separated by colons
if [ -z "${DIB_CI_CA_FILES:-}" ]; then
    DIB_CI_CA_FILES=$(find /usr/local/share/ca-certificates -name '*.crt' 2>/dev/null | sort | paste -sd:)
fi
export DIB_CI_CA_FILES
# pip has its own list of authorities; inside the image this file has ours too
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
