# certificate authorities that the mirrors of packages use: files of the building machine, separated by colons; by default its own
export DIB_CI_CA_FILES=${DIB_CI_CA_FILES:-}
# pip has its own list of authorities; inside the image this file has ours too
export PIP_CERT=/etc/ssl/certs/ca-certificates.crt
