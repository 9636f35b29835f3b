/** Starts one of Gerrit's own programs (Init, Daemon): GerritProgram NAME ARGUMENTS... */
public class GerritProgram {
  public static void main(String[] arguments) throws Exception {
    Object program =
        Class.forName("com.google.gerrit.pgm." + arguments[0]).getDeclaredConstructor().newInstance();
    Object rest = java.util.Arrays.copyOfRange(arguments, 1, arguments.length);
    Object status =
        Class.forName("com.google.gerrit.pgm.util.AbstractProgram")
            .getMethod("main", String[].class)
            .invoke(program, rest);
    System.exit((int) status);
  }
}
